"""Running the `hecore` command as a person or a script would: piped, or on a terminal of some width."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import sysconfig
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

HECORE = Path(sysconfig.get_path("scripts")) / "hecore"
CONTROL = re.compile(r"[^\S\n ]|[\x00-\x09\x0b-\x1f\x7f-\x9f]")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9]+)*m")
#: Makes its stdin the controlling terminal, as a shell would, and becomes the command.
ON_TERMINAL = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execv(sys.argv[1], sys.argv[1:])"
)


def environment(**changes: str) -> dict[str, str]:
    """This process's, without what would change the look of the output, in UTF-8."""
    dropped = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "PYTHONIOENCODING")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"TERM": "xterm-256color", "PYTHONUTF8": "1"} | changes


def piped(*arguments: str | Path, timeout: float = 250, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; stdin is empty."""
    return subprocess.run(
        [HECORE, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
        env=environment(**changes),
    )


@contextlib.contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own, its output piped. Nobody of the group outlives the block."""
    with subprocess.Popen(
        [HECORE, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
        env=environment(),
    ) as process:
        try:
            yield process
        finally:
            end_group(process.pid)


def end_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


@dataclass
class Terminal:
    """A command on a pseudo-terminal, and what it has written there."""

    process: subprocess.Popen[bytes]
    master: int
    written: bytearray = field(default_factory=bytearray)

    def read(self, until: Callable[[str], bool] = lambda text: False, timeout: float = 250) -> str:
        """Everything written so far: up to `until`, or to the end."""
        deadline = time.monotonic() + timeout
        while not until(text := self.written.decode(errors="replace")):
            if time.monotonic() > deadline:
                raise TimeoutError(text)
            try:
                data = os.read(self.master, 1 << 16)
            except OSError:  # Linux: the last process on it has gone
                data = b""
            if not data:
                break
            self.written += data
        return text

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        """The exit code, after everything is read."""
        self.read()
        return self.process.wait(60)

    def frames(self) -> list[str]:
        """The lines as they stood, one after the other: no escape sequences, no trailing blanks."""
        plain = ESCAPE.sub("", self.written.decode())
        return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


@contextlib.contextmanager
def on_terminal(
    *arguments: str | Path, columns: int = 80, stdout: IO[str] | None = None, **changes: str
) -> Iterator[Terminal]:
    """The command on a terminal of that width; `stdout`: a file that takes its standard output instead."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL, HECORE, *arguments],
        stdin=slave,
        stdout=stdout or slave,
        stderr=slave,
        env=environment(**changes),
    ) as process:
        os.close(slave)
        try:
            yield Terminal(process, master)
        finally:
            end_group(process.pid)
            process.kill()  # if it had no group of its own yet
            os.close(master)


def lines_until(stream: IO[str], wanted: str) -> list[str]:
    """Read lines up to one that holds `wanted`; the stream's end fails."""
    seen = []
    for line in stream:
        seen.append(line)
        if wanted in line:
            return seen
    raise AssertionError(f"{wanted!r} never came: {seen}")


def children(pid: int) -> list[int]:
    """The processes that it has started, in that order."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # that thread has ended
            found += map(int, (thread / "children").read_text().split())
    return sorted(found)


def running(pids: list[int]) -> list[int]:
    """Those that still run; one that has ended but was not waited for does not."""
    alive = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            alive.append(pid)
    return alive


def left_over(pids: list[int], patience: float = 60) -> list[int]:
    """Those that still run after a while."""
    deadline = time.monotonic() + patience
    while running(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return running(pids)
