"""Why a peer does not come: what this side has seen, in words for whoever has to find out."""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds after which the log says why a peer may not have come.
EXPLAIN = 10.0


@dataclass
class Absence:
    """What was seen of a peer that has not come.

    endpoint where it is dialled; None where it comes by itself
    failure  of the last connection that was dialled: an event of libzmq
    refused  why a connection to this party's listening socket was refused
    """

    me: str
    peer: str
    endpoint: str | None
    failure: int | None = None
    refused: str = ""
    explained: bool = False

    def reason(self) -> str:
        """What to look at when the peer does not come."""
        if self.failure is not None:
            return (
                f"a handshake failed: a wrong public key at one of the sides? Is the key that {self.me} was"
                f" given for {self.peer} the right one, and does {self.endpoint} speak CURVE?"
            )
        if self.endpoint is None and self.refused:
            return f"somebody came and was refused: {self.refused}"
        if self.endpoint is None:
            return (
                "nobody came; is it started, does it dial this endpoint, or is there a wrong public key at"
                " one of the sides?"
            )
        return f"nobody answered; is it started, {self.endpoint} right, the firewall open?"

    def explain(self, since: float, now: float) -> str | None:
        """Once, when it has been waited for some time: why it may not have come."""
        if self.explained or now < since + EXPLAIN:
            return None
        self.explained = True
        return f"{self.peer} has not come within {EXPLAIN:g} s: {self.reason()}"
