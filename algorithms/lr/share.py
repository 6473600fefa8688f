"""A party's share of a model: what it keeps after training, and its JSON file."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from hecore.algorithms.built import built
from hecore.algorithms.errors import ConfigurationError, ProtocolError
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.objectives import Objective

FORMAT, VERSION = "hecore linear model share", 2


class ActiveSide(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What only the active party's share has.

    intercept  of each output
    metrics    of the evaluation rows; `history` by name what else was measured by epoch
    network    whether the outputs go into a network, which is kept beside the share
    """

    objective: Objective
    intercept: list[float]
    metrics: list[float]
    history: dict[str, list[float]] = {}
    network: bool = False


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A share as it stands in its file; `model` is equal in all shares of a training.

    weights      by column, one for each output
    mean, scale  of each column: it is standardised as (x − mean)/scale
    loss         of the training by epoch
    """

    format: str
    version: int
    model: str
    party: str
    config: LinearConfig
    outputs: int
    columns: list[str]
    weights: list[list[float]]
    mean: list[float]
    scale: list[float]
    loss: list[float]
    active: ActiveSide | None = None

    def __post_init__(self) -> None:
        lengths = {len(values) for values in (self.columns, self.weights, self.mean, self.scale)}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError("columns, weights, mean and scale differ in length, or are empty")
        intercept = self.active.intercept if self.active else [0.0] * self.outputs
        if {len(row) for row in (*self.weights, intercept)} != {self.outputs}:
            raise ValueError(f"a column or the intercept does not have {self.outputs} weights")
        if self.active and not self.active.network and self.active.objective.outputs != self.outputs:
            raise ValueError("the objective has another number of outputs")
        numbers = [*self.mean, *self.scale, *intercept, *(w for row in self.weights for w in row)]
        if not all(math.isfinite(number) for number in numbers) or not all(self.scale):
            raise ValueError("a weight, mean or scale is not finite, or a scale is zero")


def save_share(record: ModelRecord, path: str | Path) -> None:
    """Write a share as JSON."""
    Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(record)))


def load_share(path: str | Path) -> ModelRecord:
    """Read a share. ProtocolError naming the file for anything else."""
    try:
        record = msgspec.json.decode(Path(path).read_bytes(), type=built(ModelRecord))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ConfigurationError) as error:
        raise ProtocolError(f"{path} is no model share: {error}") from None
    if (record.format, record.version) != (FORMAT, VERSION):
        raise ProtocolError(f"{path} holds {record.format!r} version {record.version}, not {VERSION}")
    return record
