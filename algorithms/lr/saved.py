"""What a training keeps in its checkpoints besides the standing of its mode."""

from __future__ import annotations

import msgspec

from hecore.algorithms.checkpoint import AnyRun
from hecore.algorithms.lr import messages as msg
from hecore.algorithms.lr.share import ModelRecord
from hecore.algorithms.lr.side import Dump, Save
from hecore.algorithms.party import Peer
from hecore.wire import dump_key, load_key


class Meeting(msgspec.Struct, frozen=True):
    """Whom this party trains with, and the active party's terms."""

    peers: list[Peer]
    terms: msg.Terms

    @property
    def sessions(self) -> list[str]:
        """What masks are to depend on: the own handshakes, and the name that follows from everybody's."""
        return [*(peer.session for peer in self.peers), self.terms.model]


class SavedPeer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Peer in a checkpoint; its key was checked when it came."""

    name: str
    columns: int
    session: str
    public: bytes


class SavedMeeting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Meeting in a checkpoint."""

    peers: list[SavedPeer]
    terms: msg.Terms

    @classmethod
    def of(cls, meeting: Meeting) -> SavedMeeting:
        peers = [SavedPeer(p.name, p.columns, p.session, dump_key(p.public)) for p in meeting.peers]
        return cls(peers, meeting.terms)

    def load(self) -> Meeting:
        peers = [
            Peer(p.name, load_key(p.public, insecure_test_key=True), p.columns, p.session) for p in self.peers
        ]
        return Meeting(peers, self.terms)


class Saved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of a training in a checkpoint: `standing` is the mode's own, `record` is there at the end."""

    meeting: SavedMeeting
    standing: msgspec.Raw = msgspec.Raw(b"null")
    record: ModelRecord | None = None


def saver(run: AnyRun, meeting: Meeting) -> Save:
    """Saves when it is due."""
    saved = SavedMeeting.of(meeting)

    def save(done: int, dump: Dump) -> None:
        if run.due(done):
            standing, arrays = dump()
            raw = msgspec.Raw(msgspec.json.encode(standing))
            run.save(done, Saved(meeting=saved, standing=raw), arrays)

    return save
