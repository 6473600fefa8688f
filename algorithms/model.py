"""A party's share of any model, from its file: trees in safetensors, linear models in JSON.

Serving, batch prediction and `hecore model show` read shares through here, so that a new kind of model is
added in one place.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from rich.console import RenderableType

from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.gbdt import model as trees
from hecore.algorithms.gbdt.describe import describe_share
from hecore.algorithms.gbdt.model import ActiveShare, PassiveShare
from hecore.algorithms.lr import share as linear
from hecore.algorithms.lr.describe import describe_record
from hecore.algorithms.lr.share import ModelRecord

AnyShare: TypeAlias = ActiveShare | PassiveShare | ModelRecord


def load_model_share(path: str | Path) -> AnyShare:
    """The share in a file, whatever model it is of. ProtocolError naming the file if it is none."""
    path = Path(path)
    with open(path, "rb") as file:
        head = file.read(8)
    # Taken as the length of a safetensors header, the first characters of JSON are far beyond any file.
    if head.lstrip().startswith(b"{") and int.from_bytes(head, "little") > path.stat().st_size:
        return linear.load_share(path)
    if len(head) < 8:
        raise ProtocolError(f"{path.name} is no share of a model: it has {len(head)} bytes")
    return trees.load_share(path)


def is_active(share: AnyShare) -> bool:
    """Whether the share is the active party's, who gets the scores."""
    return share.active is not None if isinstance(share, ModelRecord) else isinstance(share, ActiveShare)


def describe(share: AnyShare) -> list[RenderableType]:
    """A share for people: what it is of, and how much its columns count."""
    return describe_record(share) if isinstance(share, ModelRecord) else describe_share(share)
