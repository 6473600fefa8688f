"""The driver of the active party: gradients out, trees grown with all parties, margins, early stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hecore import Decryptor, Encryptor, Meter
from hecore.algorithms.channel import Channel
from hecore.algorithms.draws import Draws, fresh
from hecore.algorithms.gbdt import messages as msg
from hecore.algorithms.gbdt.binning import Binned
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.gbdt.gradients import Gradients, quantise
from hecore.algorithms.gbdt.growth import LEAF, Grower, GrownTree
from hecore.algorithms.gbdt.objectives import Objective
from hecore.algorithms.gbdt.planner import Plan
from hecore.algorithms.gbdt.remote import RemoteSource, send_gradients
from hecore.algorithms.gbdt.rows import NodeRows
from hecore.algorithms.gbdt.sampling import draw_columns, draw_rows
from hecore.algorithms.gbdt.sources import LocalSource, OwnSplit, SplitSource, TreeRows
from hecore.algorithms.gbdt.splits import Penalty
from hecore.algorithms.gbdt.standing import ActiveStanding
from hecore.algorithms.gbdt.trees import Forest, SplitTable
from hecore.algorithms.gbdt.weights import check_weights
from hecore.algorithms.objectives import Floats

#: A tree's number, and a block's splits of it.
TreeSplits: TypeAlias = tuple[int, list[OwnSplit]]


@dataclass(frozen=True)
class Block:
    """Columns at hand: the active party's own, or in the centralised run those of any party."""

    party: str
    binned: Binned


@dataclass(frozen=True)
class TrainingRows:
    """All rows: training first, then evaluation. `weight` of training rows; `training` which they are."""

    label: Floats
    training: NDArray[np.bool_]
    weight: Floats | None = None


@dataclass(frozen=True)
class Progress:
    """Where a training stands after a round; metrics of the training and the evaluation rows, where known.

    `seconds` that it has run: at the active party in all its processes, at a passive one in this process.
    """

    round: int
    rounds: int
    metric_name: str
    train: float | None
    evaluation: float | None
    seconds: float

    @property
    def done(self) -> float:
        """Fraction of all rounds."""
        return self.round / self.rounds


@dataclass(frozen=True)
class Trained:
    """What a training leaves at the active party.

    model     the name that all shares have
    splits    of each of its blocks
    metrics   training and evaluation, by round; `margins` of all rows, of rounds not kept as well
    """

    model: str
    forest: Forest
    splits: list[SplitTable]
    metrics: list[tuple[float, float | None]]
    margins: Floats


class ActiveTraining:
    """Boosting over blocks of columns at hand and parties elsewhere.

    Without `channels` it is the centralised run: the same code on the same integers, with every party's
    columns in a block of its own.

    candidates  the most that each channel's peer can have
    earlier     continues a model: the number of its trees, and its margins unless `resume` has them
    draws       where the model's name comes from: repeatable ones for a run that may be restarted
    save        is given the rounds done and the standing: at the start, and after each round
    resume      a standing to go on from
    """

    def __init__(
        self,
        config: GBDTConfig,
        objective: Objective,
        rows: TrainingRows,
        blocks: Sequence[Block],
        channels: Sequence[Channel] = (),
        *,
        encryptor: Encryptor | None = None,
        decryptor: Decryptor | None = None,
        plan: Plan,
        candidates: Sequence[int] = (),
        meter: Meter,
        on_progress: Callable[[Progress], None] | None = None,
        earlier: tuple[int, Floats | None] | None = None,
        draws: Draws = fresh,
        save: Callable[[ActiveStanding], None] | None = None,
        resume: ActiveStanding | None = None,
    ) -> None:
        objective.check(rows.label[~rows.training])
        check_weights(config, None if rows.weight is None else rows.weight[rows.training])
        self._config, self._objective, self._rows = config, objective, rows
        # A row of weight 0 must not pass for one of the rows of a sum.
        self._usable = rows.training if rows.weight is None else rows.training & (rows.weight > 0)
        self._blocks, self._channels = blocks, channels
        self._encryptor, self._decryptor = encryptor, decryptor
        self._plan, self._candidates = plan, candidates
        self._meter, self._on_progress = meter, on_progress
        single = config.multi_strategy == "one_output_per_tree" and objective.outputs > 1
        self._outputs = list(range(objective.outputs)) if single else [-1]
        self._earlier, margins = (0, None) if earlier is None else earlier
        if margins is None:
            margins = np.full((rows.label.size, objective.outputs), objective.start)
        self._model, self._save = draws("model")(16).hex(), save
        nothing = [SplitTable.of([]) for _ in blocks]
        self._resumed = resume is not None
        self._at = resume or ActiveStanding(0, 0, np.inf, margins, [], nothing, [])

    def run(self) -> Trained:
        """Train, and tell the passive parties how many trees are kept."""
        started = time.perf_counter() - self._at.seconds
        if not self._resumed:
            self._keep()
        while not self._over():
            self._at = replace(self._round(), seconds=time.perf_counter() - started)
            self._tell()
            self._keep()
        at = self._at
        trees = at.kept * len(self._outputs)
        for channel in self._channels:
            channel.send(msg.Round(tree=self._earlier + trees, kept=self._earlier + trees, model=self._model))
        width = 1 if self._outputs != [-1] else self._objective.outputs
        forest = Forest.of(at.trees, self._outputs * at.rounds, width).before(trees)
        splits = [own.before(self._earlier + trees) for own in at.splits]
        return Trained(self._model, forest, splits, at.metrics, at.margins)

    def _over(self) -> bool:
        """All rounds are done, or too many since the best one."""
        patience, at = self._config.early_stopping_rounds, self._at
        return at.rounds == self._config.n_estimators or 0 < patience <= at.rounds - at.kept

    def _tell(self) -> None:
        if self._on_progress:
            at = (self._at.rounds, self._config.n_estimators, self._objective.metric_name)
            self._on_progress(Progress(*at, *self._at.metrics[-1], self._at.seconds))

    def _keep(self) -> None:
        if self._save:
            self._save(self._at)

    def _round(self) -> ActiveStanding:
        """After one more round: its trees, and its metrics."""
        at = self._at
        number = self._earlier // len(self._outputs) + at.rounds
        margins = at.margins.copy()
        trees, splits = self._boost(number, self._earlier + len(at.trees), margins)
        train, evaluation = self._measure(margins)
        kept, best = at.kept, at.best
        if evaluation is None or not self._config.early_stopping_rounds:
            kept = at.rounds + 1
        elif evaluation < best:
            best, kept = evaluation, at.rounds + 1
        return ActiveStanding(
            at.rounds + 1,
            kept,
            best,
            margins,
            [*at.trees, *trees],
            [before.joined(SplitTable.of(new)) for before, new in zip(at.splits, splits, strict=True)],
            [*at.metrics, (train, evaluation)],
        )

    def _boost(
        self, number: int, first: int, margins: Floats
    ) -> tuple[list[GrownTree], list[list[TreeSplits]]]:
        """A tree, or one for each output, from number `first` on, added to `margins`; splits by block."""
        with self._meter.phase("gradients"):
            g, h = self._objective.gradient(margins, self._rows.label)
            if self._rows.weight is not None:
                g, h = g * self._rows.weight[:, None], h * self._rows.weight[:, None]
        trees: list[GrownTree] = []
        splits: list[list[TreeSplits]] = [[] for _ in self._blocks]
        for tree, output in enumerate(self._outputs, start=first):
            own = slice(None) if output < 0 else slice(output, output + 1)
            grown, nodes, local = self._grow(tree, number, g[:, own], h[:, own])
            for leaf in np.flatnonzero(grown.owner == LEAF):
                margins[nodes[int(leaf)], own] += grown.value[leaf]
            trees.append(grown)
            for place, source in enumerate(local):
                splits[place].append((tree, source.splits))
        return trees, splits

    def _grow(
        self, tree: int, number: int, g: Floats, h: Floats
    ) -> tuple[GrownTree, NodeRows, list[LocalSource]]:
        with self._meter.phase("gradients"):
            drawn, factor = draw_rows(self._config, tree, self._usable, g)
            if factor is not None:
                g, h = g * factor, h * factor
            gradients = quantise(g * drawn[:, None], h * drawn[:, None], self._config.gradient_bits)
        data = TreeRows(gradients.values, drawn)
        nodes = NodeRows(drawn.size)
        alone = number < self._config.first_trees_local
        blocks = self._blocks[:1] if alone else self._blocks
        local = [self._local(block, tree, nodes, block is self._blocks[0]) for block in blocks]
        remote = [] if alone else self._remote(tree, data, nodes)
        sources: list[SplitSource] = [*local, *remote]
        for source in sources:
            source.begin(tree, data)
        names = [block.party for block in self._blocks] + [channel.peer for channel in self._channels]
        penalty = self._penalty(gradients)
        grower = Grower(self._config, sources, names, nodes, data, penalty, self._plan.nodes_at_once)
        return grower.grow(), nodes, local

    def _local(self, block: Block, tree: int, nodes: NodeRows, own: bool) -> LocalSource:
        config = self._config
        columns = draw_columns(config, tree, block.party, len(block.binned.columns))
        least_bin = 1 if own else config.min_samples_bin
        return LocalSource(block.binned, columns, nodes, config.min_samples_leaf, least_bin, self._meter)

    def _remote(self, tree: int, data: TreeRows, nodes: NodeRows) -> list[RemoteSource]:
        if not self._channels or self._encryptor is None or self._decryptor is None:
            return []
        bits, block_rows = self._config.gradient_bits, self._plan.block_rows
        sending = (self._encryptor, bits, block_rows, self._meter)
        layout = send_gradients(self._channels, tree, self._model, data, *sending)
        return [
            RemoteSource(channel, self._decryptor, layout, nodes, self._meter, most)
            for channel, most in zip(self._channels, self._candidates, strict=True)
        ]

    def _penalty(self, gradients: Gradients) -> Penalty:
        return Penalty.of(self._config, self._objective.max_delta_step, gradients.scales())

    def _measure(self, margins: Floats) -> tuple[float, float | None]:
        """The metric on training rows, and on evaluation rows if there are any."""
        rows, training = self._rows, self._rows.training
        weight = None if rows.weight is None else rows.weight[training]
        train = self._objective.metric(margins[training], rows.label[training], weight)
        if training.all():
            return train, None
        return train, self._objective.metric(margins[~training], rows.label[~training])
