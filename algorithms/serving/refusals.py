"""Why a caller gets no score: an HTTP status, a code for programs, a text for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hecore.errors import HecoreError

#: Ids that an error names.
SHOWN = 20


class Refusal(HecoreError):
    """`status` of HTTP; `ids` that are at fault; `retry_after` seconds until it is worth asking again."""

    def __init__(
        self, status: int, code: str, text: str, *, ids: Sequence[str] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.status, self.code, self.ids, self.retry_after = status, code, tuple(ids), retry_after

    def body(self) -> dict[str, Any]:
        """As the caller gets it."""
        error: dict[str, Any] = {"code": self.code, "message": str(self)}
        if self.ids:
            error["ids"] = self.ids[:SHOWN]
        return {"error": error}
