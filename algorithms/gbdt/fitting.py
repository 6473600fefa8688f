"""One party's training, from its tables to its share of the model: with the label, or without."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hecore import Decryptor, Encryptor, Meter
from hecore.algorithms.channel import Channel
from hecore.algorithms.data import Table
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.gbdt.active import ActiveTraining, Block, Progress
from hecore.algorithms.gbdt.binning import ColumnBins
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.gbdt.model import ActiveShare, PassiveShare
from hecore.algorithms.gbdt.objectives import Gradient, Objective, make_objective
from hecore.algorithms.gbdt.passive import PassiveTraining
from hecore.algorithms.gbdt.planner import Plan, most_candidates, plan
from hecore.algorithms.gbdt.standing import (
    ActiveStanding,
    ActiveState,
    Journal,
    PassiveStanding,
    PassiveState,
)
from hecore.algorithms.gbdt.tables import binned, fitted_bins, training_rows
from hecore.algorithms.objectives import Floats
from hecore.algorithms.party import Peer
from hecore.kernels import Backend
from hecore.keys import PrivateKey, PublicKey
from hecore.wire import dump_key, load_key


@dataclass(frozen=True)
class Fitting:
    """What a training needs at either kind of party.

    tables   the training table, and the evaluation table if there is one
    journal  the run's checkpoints: where it has one, the training goes on from it
    """

    channels: Sequence[Channel]
    config: GBDTConfig
    backend: Backend
    categorical: Sequence[str]
    tables: Sequence[Table]
    journal: Journal
    meter: Meter

    def lead(
        self,
        key: PrivateKey,
        sample_weight: Sequence[float] | None,
        peers: Sequence[Peer],
        custom: Gradient | None,
        on_progress: Callable[[Progress], None] | None,
        earlier: ActiveShare | PassiveShare | None,
        margins: Sequence[Floats | None],
    ) -> ActiveShare:
        """The active party's share under `key`; `earlier` is continued, from the `margins` of all tables."""
        config, table, names = self.config, self.tables[0], [channel.peer for channel in self.channels]
        rows = training_rows(self.tables, sample_weight)
        weight = None if rows.weight is None else rows.weight[rows.training]
        objective = make_objective(config, rows.label[rows.training], weight, custom)
        before = earlier if isinstance(earlier, ActiveShare) else None
        if before is not None:
            _check_continued(before, config, objective, names)
            objective = replace(objective, start=before.start)
        bins = self._bins(before)
        sizes, columns, resume = self._sizes(key.public, peers)

        def save(standing: ActiveStanding) -> None:
            if self.journal.run.due(standing.rounds):
                self.journal.run.save(standing.rounds, *standing.dump(sizes, columns))

        start = np.concatenate([part for part in margins if part is not None]) if margins else None
        trained = ActiveTraining(
            config,
            objective,
            rows,
            [Block(self.channels[0].me, binned(table.columns, bins, self.tables))],
            self.channels,
            encryptor=Encryptor(key, self.backend),
            decryptor=Decryptor(key, self.backend),
            plan=sizes,
            candidates=[most_candidates(config, count) for count in columns],
            meter=self.meter,
            on_progress=on_progress,
            earlier=None if before is None else (before.forest.trees, start),
            draws=self.journal.run.draws,
            save=save,
            resume=resume,
        ).run()
        splits, forest, metrics = trained.splits[0], trained.forest, trained.metrics
        if before is not None:
            splits, forest = before.splits.joined(splits), before.forest.joined(forest)
            metrics = before.metrics + metrics
        return ActiveShare(
            model=trained.model,
            party=self.channels[0].me,
            config=config,
            peers=tuple(names),
            columns=table.columns,
            bins=bins,
            objective=objective.name,
            outputs=objective.outputs,
            start=objective.start,
            metric_name=objective.metric_name,
            metrics=metrics,
            splits=splits,
            forest=forest,
        )

    def follow(
        self,
        public: PublicKey,
        on_progress: Callable[[Progress], None] | None,
        earlier: ActiveShare | PassiveShare | None,
    ) -> PassiveShare:
        """A passive party's share; `public` is the active party's key, `earlier` is continued."""
        config, table, state = self.config, self.tables[0], self.journal.state
        before = earlier if isinstance(earlier, PassiveShare) else None
        bins, key = self._bins(before), dump_key(public)
        resume = PassiveStanding.load(state, self.journal.arrays) if isinstance(state, PassiveState) else None
        tell = _trees_told(config, on_progress, 0 if resume is None else resume.grown)

        def save(standing: PassiveStanding) -> None:
            tell(standing.grown)
            if self.journal.run.due(standing.grown):
                self.journal.run.save(standing.grown, *standing.dump(key))

        model, splits = PassiveTraining(
            self.channels[0],
            config,
            binned(table.columns, bins, self.tables),
            len(table),
            public,
            backend=self.backend,
            meter=self.meter,
            earlier=None if before is None else before.splits,
            draws=self.journal.run.draws,
            save=save,
            resume=resume,
        ).run()
        return PassiveShare(
            model=model,
            party=self.channels[0].me,
            config=config,
            columns=table.columns,
            bins=bins,
            splits=splits,
        )

    def active_key(self, peers: Sequence[Peer]) -> PublicKey:
        """The active party's key at a passive one: from its hello, or the checkpoint."""
        state = self.journal.state
        if isinstance(state, PassiveState):
            return load_key(state.public, insecure_test_key=True)  # checked when it came
        return peers[0].public

    def _sizes(
        self, public: PublicKey, peers: Sequence[Peer]
    ) -> tuple[Plan, tuple[int, ...], ActiveStanding | None]:
        """Sizes of messages, columns of each peer, and where to go on from; of a restart those it had."""
        state = self.journal.state
        if isinstance(state, ActiveState):
            sizes = Plan(state.block_rows, state.nodes_at_once)
            return sizes, state.peer_columns, ActiveStanding.load(state, self.journal.arrays)
        columns = tuple(peer.columns for peer in peers)
        most = most_candidates(self.config, max(columns))
        return plan(self.config, public, len(self.tables[0]), most), columns, None

    def _bins(self, before: ActiveShare | PassiveShare | None) -> tuple[ColumnBins, ...]:
        """The bins of this party's columns: those of the model that is continued, or new ones."""
        return fitted_bins(self.tables[0], self.config, self.categorical) if before is None else before.bins


def _trees_told(
    config: GBDTConfig, on_progress: Callable[[Progress], None] | None, before: int
) -> Callable[[int], None]:
    """Tells of each tree at a passive party, which knows no metric; `before`: trees of earlier processes."""
    started = time.perf_counter()

    def tell(grown: int) -> None:
        if on_progress is None or grown <= before or config.multi_strategy == "one_output_per_tree":
            return  # how many trees a round has, the passive party does not know
        seconds = time.perf_counter() - started
        at = min(grown + config.first_trees_local, config.n_estimators)
        on_progress(Progress(at, config.n_estimators, "", None, None, seconds))

    return tell


def _check_continued(
    before: ActiveShare, config: GBDTConfig, objective: Objective, peers: Sequence[str]
) -> None:
    """ConfigurationError where a model cannot be continued like this."""
    had = (before.objective, before.outputs, before.config.multi_strategy, list(before.peers))
    wanted = (objective.name, objective.outputs, config.multi_strategy, list(peers))
    bins = before.config.max_bin, config.max_bin  # of the bins, which are taken over
    names = ("objective", "outputs", "multi_strategy", "peers", "max_bin")
    for name, old, new in zip(names, (*had, bins[0]), (*wanted, bins[1]), strict=True):
        if old != new:
            raise ConfigurationError(f"the model has {name} {old!r}: it cannot be continued with {new!r}")
