"""Parties in processes of their own: started, killed, stopped, started again."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from hecore.algorithms.channel import CurveKeys
from hecore.algorithms.free_port import free_port

from .party import AHEAD, Progress, Settings, progress_file

SCRIPT = Path(__file__).with_name("party.py")
FAST = {
    "connect_timeout": 60.0, "grace": 300.0, "heartbeat": 0.25, "heartbeat_timeout": 1.0, "retry": 1.0,
    "linger": 20.0,
}  # fmt: skip


@dataclass
class Life:
    """One process of a party, and what it has said so far."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def said(self, word: str) -> list[str]:
        return [line for line in self.lines if word in line]

    def wait_for(self, word: str, seconds: float) -> str:
        """The first line with a word in it."""
        deadline = time.monotonic() + seconds
        while not self.said(word):
            assert time.monotonic() < deadline, f"{word!r} is not among {self.lines}"
            assert self.process.poll() is None or self._thread.is_alive() or self.said(word), self.lines
            time.sleep(0.01)
        return self.said(word)[0]

    def end(self, seconds: float) -> int:
        code = self.process.wait(seconds)
        self._thread.join(60)
        return code


class Pair:
    """Party `a`, which listens, and `b`, or more that dial it; each may be started any number of times."""

    def __init__(
        self,
        folder: Path,
        count: int,
        size: int = 100,
        every: int = 50,
        names: str = "ab",
        clock: Sequence[float] = (),
        **options: float,
    ) -> None:
        keys = {name: CurveKeys.generate() for name in names}
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.folder, self.names = folder, names
        self.lives: dict[str, list[Life]] = {name: [] for name in names}
        self.settings = {
            name: Settings(
                me=name,
                peers=list(names[1:]) if name == "a" else ["a"],
                job="pair",
                folder=str(folder / name),
                endpoint=self.endpoint,
                listens=name == "a",
                public=keys[name].public,
                secret=keys[name].secret,
                allowed={party: pair.public for party, pair in keys.items()},
                count=count,
                every=every,
                size=size,
                options=FAST | options,
                clock=list(clock),
            )
            for name in names
        }

    def taken(self, name: str, peer: str) -> int:
        """Messages that a party has taken from another, as its checkpoint tells."""
        settings = self.settings[name]
        try:
            data = progress_file(settings, peer).read_bytes()
        except FileNotFoundError:
            return 0
        return msgspec.json.decode(data, type=Progress).taken

    def start(self, name: str) -> Life:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        path = folder / "settings.json"
        path.write_bytes(msgspec.json.encode(self.settings[name]))
        path.chmod(0o600)
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lives[name].append(Life(process))
        return self.lives[name][-1]

    def kill(self, name: str) -> None:
        life = self.lives[name][-1]
        life.process.kill()
        life.end(60)

    def finish(self, seconds: float) -> dict[str, str]:
        """All end well; their digests, which of a party of several peers must be equal."""
        for name in self.names:
            code = self.lives[name][-1].end(seconds)
            assert code == 0, (name, self.lives[name][-1].lines[-5:])
        digests = {
            name: {line.split()[1] for line in self.lives[name][-1].said("done")} for name in self.names
        }
        return {name: ",".join(some) for name, some in digests.items()}

    def close(self) -> None:
        for lives in self.lives.values():
            for life in lives:
                with contextlib.suppress(ProcessLookupError):
                    life.process.send_signal(signal.SIGCONT)
                life.process.kill()
                life.end(60)
                if life.process.stdout is not None:
                    life.process.stdout.close()


@contextlib.contextmanager
def pair_in(folder: Path, count: int, **settings: object) -> Iterator[Pair]:
    pair = Pair(folder, count, **settings)  # type: ignore[arg-type]
    try:
        yield pair
    finally:
        pair.close()


def expected(count: int, names: str = "ab") -> dict[str, str]:
    """The digests of an undisturbed exchange, computed without any channel; equal for all parties."""
    digests: dict[str, list[bytes]] = {"a": [b""], "b": [b""]}  # after 0, 1, … messages
    made: dict[str, list[bytes]] = {"a": [], "b": []}
    for number in range(count):
        for name in ("a", "b"):
            known = digests[name][number - AHEAD] if number >= AHEAD else b""
            made[name].append(hashlib.sha256(known + number.to_bytes(8, "little")).digest())
        for name, peer in (("a", "b"), ("b", "a")):
            digests[name].append(hashlib.sha256(digests[name][-1] + made[peer][number]).digest())
    assert digests["a"] == digests["b"]
    return dict.fromkeys(names, digests["a"][-1].hex())
