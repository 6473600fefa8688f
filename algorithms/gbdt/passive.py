"""The driver of a passive party: answers what the active party asks, and keeps its own splits.

Everything received is checked against what this party knows; ProtocolError names the active party.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hecore import CipherBatch, Meter
from hecore.algorithms.channel import Channel
from hecore.algorithms.draws import Draws, fresh
from hecore.algorithms.engine import LocalEngine
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.gbdt import messages as msg
from hecore.algorithms.gbdt.binning import Binned
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.gbdt.gradients import row_layout
from hecore.algorithms.gbdt.passive_tree import PassiveTree
from hecore.algorithms.gbdt.planner import table_bins
from hecore.algorithms.gbdt.rows import Left, unpack_bits
from hecore.algorithms.gbdt.sampling import draw_rows
from hecore.algorithms.gbdt.sources import OwnSplit
from hecore.algorithms.gbdt.standing import PassiveStanding
from hecore.algorithms.gbdt.trees import SplitTable
from hecore.errors import HecoreError
from hecore.kernels import Backend
from hecore.keys import PublicKey


class PassiveTraining:
    """One passive party's side of a training.

    binned   its columns, training rows first, then those of the evaluation table
    rows     number of training rows
    earlier  its splits of the model that is continued
    draws    where secret orders come from: repeatable ones for a run that may be restarted
    save     is given the standing: at the start, and after each tree
    resume   a standing to go on from
    """

    def __init__(
        self,
        channel: Channel,
        config: GBDTConfig,
        binned: Binned,
        rows: int,
        public: PublicKey,
        *,
        backend: Backend,
        meter: Meter,
        earlier: SplitTable | None = None,
        draws: Draws = fresh,
        save: Callable[[PassiveStanding], None] | None = None,
        resume: PassiveStanding | None = None,
    ) -> None:
        self._channel, self._config, self._binned, self._rows = channel, config, binned, rows
        self._public, self._backend, self._meter = public, backend, meter
        self._table_bins = table_bins(public, max(column.width for column in binned.columns))
        self._engine = LocalEngine()
        self._earlier = SplitTable.of([]) if earlier is None else earlier
        self._draws, self._save = draws, save
        local = config.first_trees_local if earlier is None else 0
        self._most = max(0, config.n_estimators - local) * config.most_outputs
        self._before = int(self._earlier.tree.max(initial=-1))
        self._resumed = resume is not None
        self._at = resume or PassiveStanding(0, self._before, SplitTable.of([]))

    def run(self) -> tuple[str, SplitTable]:
        """The model's name, and this party's splits of the trees that are kept."""
        if not self._resumed:
            self._keep()
        while True:
            start = self._channel.receive(msg.Round)
            if not start.model:
                raise self._wrong("began or ended a tree without a name for the model")
            if start.kept is not None:
                self._check_kept(start.kept)
                return start.model, self._earlier.joined(self._at.splits).before(start.kept)
            self._check_tree(start.tree)
            grown = SplitTable.of([(start.tree, self._grow(start))])
            splits = self._at.splits.joined(grown)
            self._at = PassiveStanding(self._at.grown + 1, start.tree, splits)
            self._keep()

    def _check_tree(self, tree: int) -> None:
        """A tree tells sums of gradients: none out of turn, and no more than the parties agreed on."""
        at = self._at
        if tree <= at.last or (at.grown > 0 and tree != at.last + 1):
            raise self._wrong(f"began tree {tree} after tree {at.last}")
        if at.grown >= self._most:
            raise self._wrong(
                f"began tree {tree} after {at.grown} joint trees, though n_estimators ="
                f" {self._config.n_estimators} allows {self._most} at most"
            )

    def _check_kept(self, kept: int) -> None:
        """What was continued stays, and without early stopping all; what was not grown is not kept."""
        at = self._at
        fewest = 1 + (self._before if self._config.early_stopping_rounds else at.last)
        if kept < fewest or (at.grown > 0 and kept > at.last + 1):
            raise self._wrong(f"kept {kept} trees: the last was tree {at.last}, and {fewest} must stay")

    def _keep(self) -> None:
        if self._save:
            self._save(self._at)

    def _grow(self, start: msg.Round) -> list[OwnSplit]:
        """One tree."""
        names = (self._channel.me, self._channel.peer)
        settings = (self._config, self._binned, self._drawn(start), names, self._engine, self._table_bins)
        draw = self._draws(f"order of tree {start.tree} of model {start.model}")
        tree = PassiveTree(start.tree, *settings, draw=draw)
        for number in range(start.blocks):
            block = self._channel.receive(msg.Block)
            if (block.tree, block.block) != (start.tree, number) or len(block.payload) != 1:
                raise self._wrong("sent a block of gradients out of order")
            with self._meter.phase("validate"):
                batch = self._gradients(block.payload[0], start.outputs)
            with self._meter.phase("histogram"):
                tree.take(batch)
        tree.complete()
        while True:
            step = self._channel.receive(msg.Grow)
            if step.tree != start.tree:
                raise self._wrong(f"asked for tree {step.tree} while tree {start.tree} grows")
            tree.apply(step)
            if step.choose:
                self._channel.send(msg.Routes(tree=start.tree, payload=(tree.choose(step.choose),)))
            if step.build:
                with self._meter.phase("histogram"):
                    sums = tree.sums(step.build)
                with self._meter.phase("pack"):
                    reply = sums.reply(start.tree, self._config.reply_randomness)
                self._channel.send(reply)
            if not step.choose and not step.build:
                return tree.splits

    def _drawn(self, start: msg.Round) -> Left:
        """Which of all rows are drawn; evaluation rows never are, and others as the public seed says."""
        rows = self._binned.codes.shape[0]
        training = np.arange(rows) < self._rows
        drawn = training
        if start.payload:
            try:
                (drawn,) = unpack_bits(b"".join(start.payload), [rows])
            except ValueError as error:
                raise self._wrong(str(error)) from None
        if drawn[self._rows :].any():
            raise self._wrong("drew rows of the evaluation table")
        if self._config.goss_top == 0 and self._config.sample_weights == "none":
            expected, _ = draw_rows(self._config, start.tree, training, np.empty((rows, 0)))
            if not np.array_equal(drawn, expected):
                raise self._wrong(f"drew other rows for tree {start.tree} than the seed does")
        return drawn

    def _gradients(self, data: bytes, outputs: int) -> CipherBatch:
        layout = row_layout(self._public, self._config.gradient_bits, self._binned.codes.shape[0], outputs)
        try:
            batch = CipherBatch.from_bytes(data, self._public, self._backend)
        except HecoreError as error:
            raise self._wrong(f"sent gradients that cannot be read: {error}") from error
        if (batch.layout, batch.scale_bits, batch.terms) != (layout, 0, 1) or batch.shape[1:] != (
            2 * outputs,
        ):
            raise self._wrong(f"sent gradients of shape {batch.shape} in {batch.layout}")
        return batch

    def _wrong(self, what: str) -> ProtocolError:
        return ProtocolError(f"{self._channel.peer} {what}")
