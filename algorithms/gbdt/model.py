"""Shares of a model: what each party keeps after training, and its file.

The active party's share has the shape of the trees, leaf values and its own splits; a passive party's share
has its own splits, and nothing of the label: no gain, no Σg, no Σh, no leaf value.

A share is one safetensors file: arrays as tensors, everything else as JSON in its metadata under "hecore".
Reading checks format, version, types, shapes and ranges; what does not fit raises ProtocolError.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.built import built
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.gbdt.binning import ColumnBins
from hecore.algorithms.gbdt.config import MAX_OUTPUTS, GBDTConfig
from hecore.algorithms.gbdt.growth import LEAF
from hecore.algorithms.gbdt.trees import Forest, SplitTable

FORMAT: Literal["hecore gbdt share"] = "hecore gbdt share"
VERSION = 1
METADATA = "hecore"
SPLIT_TENSORS = {"tree": "int32", "node": "int32", "column": "int32", "bin": "int32", "missing_left": "bool"}
FOREST_TENSORS = {
    "start": "int64",
    "output": "int32",
    "owner": "int16",
    "left": "int32",
    "right": "int32",
    "value": "float64",
    "gain": "float64",
    "cover": "float64",
}


@dataclass(frozen=True)
class Share:
    """What every party keeps of a model; `model` is equal in all shares."""

    model: str
    party: str
    config: GBDTConfig
    columns: tuple[str, ...]
    bins: tuple[ColumnBins, ...]
    splits: SplitTable


@dataclass(frozen=True)
class PassiveShare(Share):
    """A passive party's half of a model."""


@dataclass(frozen=True)
class ActiveShare(Share):
    """The active party's half of a model.

    peers     passive parties, as the owners 1, 2, … of `forest`; owner 0 is this party
    start     the margin before the first tree
    metrics   (training, evaluation or None) by round
    """

    peers: tuple[str, ...]
    objective: str
    outputs: int
    start: float
    metric_name: str
    metrics: list[tuple[float, float | None]]
    forest: Forest


class LabelSide(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What only the active party's header has."""

    peers: tuple[str, ...]
    objective: str
    outputs: Annotated[int, msgspec.Meta(ge=1, le=MAX_OUTPUTS)]
    start: float
    metric_name: str
    metrics: list[tuple[float | None, float | None]]  # JSON has null for what is not finite


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON in the metadata of a share's file."""

    format: Literal["hecore gbdt share"]
    version: int
    model: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    party: str
    config: GBDTConfig
    columns: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    bins: tuple[ColumnBins, ...]
    active: LabelSide | None = None


def parts_of(share: ActiveShare | PassiveShare) -> tuple[Header, dict[str, NDArray[Any]]]:
    """A share as a header, which JSON can hold, and arrays."""
    tensors = {f"splits.{name}": getattr(share.splits, name) for name in SPLIT_TENSORS}
    active = None
    if isinstance(share, ActiveShare):
        tensors |= {f"forest.{name}": getattr(share.forest, name) for name in FOREST_TENSORS}
        active = LabelSide(
            peers=share.peers,
            objective=share.objective,
            outputs=share.outputs,
            start=share.start,
            metric_name=share.metric_name,
            metrics=list(share.metrics),
        )
    header = Header(
        format=FORMAT,
        version=VERSION,
        model=share.model,
        party=share.party,
        config=share.config,
        columns=share.columns,
        bins=share.bins,
        active=active,
    )
    return header, {name: np.ascontiguousarray(values) for name, values in tensors.items()}


def save_share(share: ActiveShare | PassiveShare, path: str | Path) -> None:
    """Write a share to a file."""
    from safetensors.numpy import save_file

    header, tensors = parts_of(share)
    save_file(tensors, str(path), metadata={METADATA: msgspec.json.encode(header).decode()})


def digest(share: ActiveShare | PassiveShare) -> str:
    """SHA-256 of a share: equal where a run was killed and resumed, and where it was not."""
    header, tensors = parts_of(share)
    out = hashlib.sha256(msgspec.json.encode(header))
    for name, values in sorted(tensors.items()):
        out.update(f"{name} {values.dtype} {values.shape} ".encode() + values.tobytes())
    return out.hexdigest()


def load_share(path: str | Path) -> ActiveShare | PassiveShare:
    """Read a share. ProtocolError naming the file for anything else, or values that do not fit together."""
    name = Path(path).name
    return share_of(*_read(Path(path), name), name)


def share_of(header: Header, tensors: dict[str, NDArray[Any]], name: str) -> ActiveShare | PassiveShare:
    """The inverse of `parts_of`. ProtocolError naming the file for values that do not fit together."""
    try:
        splits = SplitTable(**_tensors(tensors, "splits", SPLIT_TENSORS))
        _check_splits(splits, header)
        common: dict[str, Any] = {
            "model": header.model,
            "party": header.party,
            "config": header.config,
            "columns": header.columns,
            "bins": header.bins,
            "splits": splits,
        }
        if header.active is None:
            return PassiveShare(**common)
        forest = Forest(**_tensors(tensors, "forest", FOREST_TENSORS))
        _check_forest(forest, splits, header.active)
        side = header.active
        return ActiveShare(
            **common,
            peers=side.peers,
            objective=side.objective,
            outputs=side.outputs,
            start=side.start,
            metric_name=side.metric_name,
            metrics=[(np.nan if train is None else train, rest) for train, rest in side.metrics],
            forest=forest,
        )
    except ValueError as error:
        raise ProtocolError(f"{name} is a damaged share: {error}") from None


def _read(path: Path, name: str) -> tuple[Header, dict[str, NDArray[Any]]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            text = (file.metadata() or {}).get(METADATA, "")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        header = msgspec.json.decode(text, type=built(Header))
    except SafetensorError as error:
        raise ProtocolError(f"{name} is no safetensors file: {error}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolError(f"{name} is no share of a model: {error}") from None
    if header.version != VERSION:
        raise ProtocolError(f"{name} has version {header.version}, but this hecore reads version {VERSION}")
    return header, tensors


def _tensors(tensors: dict[str, NDArray[Any]], prefix: str, kinds: dict[str, str]) -> dict[str, NDArray[Any]]:
    out = {}
    for name, kind in kinds.items():
        values = tensors.get(f"{prefix}.{name}")
        dimensions = 2 if name == "value" else 1
        if values is None or values.dtype != np.dtype(kind) or values.ndim != dimensions:
            raise ValueError(f"the tensor {prefix}.{name} is not there, or not {kind}")
        out[name] = values
    return out


def _check_splits(splits: SplitTable, header: Header) -> None:
    if len(header.bins) != len(header.columns):
        raise ValueError(f"{len(header.bins)} bins for {len(header.columns)} columns")
    for bins in header.bins:
        if not all(map(math.isfinite, bins.edges)) or bins.edges != sorted(set(bins.edges)):
            raise ValueError("the thresholds of a column do not increase")
        if bins.texts is not None and not (bins.categorical and len(set(bins.texts)) == len(bins.edges)):
            raise ValueError("the texts of a column are not those of its categories")
    if len({part.size for part in splits.parts()}) != 1:
        raise ValueError("the splits' tensors differ in length")
    if not len(splits):
        return
    order = splits.tree.astype(np.int64) * (1 << 32) + splits.node
    if splits.tree.min() < 0 or splits.node.min() < 0 or (np.diff(order) <= 0).any():
        raise ValueError("the splits are not sorted by tree and node")
    if splits.column.min() < 0 or splits.column.max() >= len(header.columns):
        raise ValueError("a split has a column that is not there")
    limit = np.array([bins.bins - (not bins.categorical) for bins in header.bins])
    if splits.bin.min() < 0 or (splits.bin >= limit[splits.column]).any():
        raise ValueError("a split has a bin that is not there")


def _check_forest(forest: Forest, splits: SplitTable, side: LabelSide) -> None:
    nodes = forest.owner.size
    if {part.size for part in (forest.left, forest.right, forest.gain, forest.cover)} != {nodes}:
        raise ValueError("the forest's tensors differ in length")
    width = 1 if forest.trees and (forest.output >= 0).all() else side.outputs
    if forest.value.shape != (nodes, width) or not np.isfinite(forest.value).all():
        raise ValueError("the leaf values do not fit the outputs, or are not finite")
    start = forest.start
    if start.size != forest.trees + 1 or start[0] != 0 or start[-1] != nodes or (np.diff(start) < 1).any():
        raise ValueError("the trees' places do not fit the nodes")
    if ((forest.output < -1) | (forest.output >= side.outputs)).any():
        raise ValueError("a tree has an output that is not there")
    if ((forest.owner < LEAF) | (forest.owner > len(side.peers))).any():
        raise ValueError("a node has an owner that is not there")
    inner = np.flatnonzero(forest.owner != LEAF)
    own = inner - np.repeat(start[:-1], np.diff(start))[inner]
    size = np.repeat(np.diff(start), np.diff(start))[inner]
    for child in (forest.left[inner], forest.right[inner]):
        if ((child <= own) | (child >= size)).any():
            raise ValueError("a node has a child that is not behind it in its tree")
    tree = np.repeat(np.arange(forest.trees), np.diff(start))
    mine = forest.splits_of(0)
    if not (
        np.array_equal(tree[mine], splits.tree) and np.array_equal(mine - start[tree[mine]], splits.node)
    ):
        raise ValueError("the own splits are not those of the forest")
