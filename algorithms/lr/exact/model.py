"""VerticalTopModel: a neural network whose first layer lies over the columns of all parties."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self, get_args

from hecore.algorithms.channel import Channel
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.data import Table
from hecore.algorithms.errors import ConfigurationError, ProtocolError
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.exact.active import ActiveTraining
from hecore.algorithms.lr.exact.passive import PassiveTraining
from hecore.algorithms.lr.exact.top import TorchTop
from hecore.algorithms.lr.linear import VerticalLinearModel
from hecore.algorithms.lr.objectives import Objective
from hecore.algorithms.lr.side import Arrays, Outcome, Side
from hecore.algorithms.objectives import Floats, LinearObjective
from hecore.kernels import Backend
from hecore.keys import PrivateKey

if TYPE_CHECKING:
    import torch


class VerticalTopModel(VerticalLinearModel):
    """A PyTorch module at the active party, on a source layer of `hidden` units over all parties' columns.

    Z = X_A·W_A + Σ_P X_P·W_P, (rows, hidden), goes into `module`, which gives logits (rows, outputs) for the
    objective. All of it is trained jointly by the configured optimiser, in mode `exact`; the penalty alpha is
    on the source layer. A passive party gives neither module nor units; it holds and gets what it does in
    mode `exact`. PyTorch is the extra `torch`.

    Raises ConfigurationError for another mode, and for a module without units or units without a module.
    """

    objectives: ClassVar[tuple[str, ...]] = get_args(LinearObjective)
    network: ClassVar[bool] = True

    def __init__(
        self,
        channel: Channel | Sequence[Channel],
        config: LinearConfig | None = None,
        *,
        module: torch.nn.Module | None = None,
        hidden: int = 0,
        key: PrivateKey | None = None,
        backend: Backend | str | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        super().__init__(channel, config, key=key, backend=backend, checkpoints=checkpoints)
        if self.config.mode != "exact":
            raise ConfigurationError(f'mode = "{self.config.mode}": a network needs mode = "exact"')
        if (module is None) != (hidden == 0) or hidden < 0:
            raise ConfigurationError(f"hidden = {hidden} units and a module belong together")
        self.module, self.hidden = module, hidden

    def _default_config(self) -> LinearConfig:
        return LinearConfig(mode="exact", optimizer="adam", learning_rate_decay=1.0)

    def predict(self, table: Table) -> Floats | None:
        """Joint probabilities (rows, classes) or means (rows,) at the active party, None elsewhere."""
        return self._predictions(table)

    def save(self, path: str | Path) -> None:
        """Write this party's share as JSON, and a network beside it, as a safetensors file."""
        super().save(path)
        if self.module is not None:
            from safetensors.numpy import save_file

            save_file(self._extra(), Path(path).with_suffix(".safetensors"))

    def load(self, path: str | Path) -> Self:
        """Read what `save` wrote. ProtocolError where the module given has other parts."""
        super().load(path)
        if self.module is not None:
            from safetensors.numpy import load_file

            self._load_extra(load_file(Path(path).with_suffix(".safetensors")))
        return self

    def digest(self) -> str:
        """SHA-256 of this party's share, its network included."""
        state = hashlib.sha256(super().digest().encode())
        for name, array in sorted(self._extra().items()):
            state.update(name.encode() + array.tobytes())
        return state.hexdigest()

    def _top(self, objective: Objective) -> TorchTop:
        if self.module is None:
            raise ConfigurationError("the active party needs a module and the number of hidden units")
        return TorchTop(self.module, self.hidden, objective)

    def _train(self, side: Side) -> Outcome:
        if side.label is None:
            return PassiveTraining(side).run()
        return ActiveTraining(side, side.label, self._top(side.label.objective)).run()

    def _units(self, objective: Objective) -> int:
        return self._top(objective).columns

    def _predictions(self, table: Table) -> Floats | None:
        z, active = self._scores(table), self._fitted().active
        if z is None or active is None:
            return None
        return active.objective.predict(self._top(active.objective).outputs(z))

    def _extra(self) -> Arrays:
        return {} if self.module is None else self._top(Objective(name="binary:logistic")).dump()

    def _load_extra(self, arrays: Arrays) -> None:
        if self.module is None:
            return
        top = self._top(Objective(name="binary:logistic"))
        shapes = {name: array.shape for name, array in top.dump().items()}
        if shapes != {name: array.shape for name, array in arrays.items()}:
            raise ProtocolError(f"the network has parts {sorted(arrays)}; this module has {sorted(shapes)}")
        top.load(arrays)
