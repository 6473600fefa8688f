"""A party's share of any model, from its file: trees in safetensors, linear models in JSON.

Serving, batch prediction and `hecore model show` read shares through here, so that a new kind of model is
added in one place.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from rich.console import RenderableType

from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.gbdt.describe import describe_share
from hecore.algorithms.gbdt.model import ActiveShare, PassiveShare, load_share
from hecore.algorithms.lr.messages import ModelRecord
from hecore.algorithms.lr.model import VerticalLogisticRegression

AnyShare: TypeAlias = ActiveShare | PassiveShare | ModelRecord


def load_model_share(path: str | Path) -> AnyShare:
    """The share in a file, whatever model it is of. ProtocolError naming the file if it is none."""
    path = Path(path)
    with open(path, "rb") as file:
        head = file.read(8)
    if head.lstrip().startswith(b"{") and int.from_bytes(head, "little") > path.stat().st_size:
        return (
            VerticalLogisticRegression(None).load(path)._record
        )  # JSON: as the length of a safetensors header that would be beyond the file
    if len(head) < 8:
        raise ProtocolError(f"{path.name} is no share of a model: it has {len(head)} bytes")
    return load_share(path)


def describe(share: AnyShare) -> list[RenderableType]:
    """A share for people: what it is of, and how much its columns count."""
    return describe_share(share)


def is_active(share: AnyShare) -> bool:
    """Whether the share is the active party's, who gets the scores."""
    return share.intercept is not None if isinstance(share, ModelRecord) else isinstance(share, ActiveShare)
