"""Ctrl-C and SIGTERM stop a command that goes on later from what it has stored."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from types import FrameType
from typing import NoReturn

from hecore.algorithms.cli.console import INTERRUPTED

#: Seconds that a command gets to close by itself.
PATIENCE = 15.0


@contextmanager
def stoppable(said: str, patience: float = PATIENCE) -> Iterator[None]:
    """KeyboardInterrupt on SIGINT and SIGTERM; a process that does not close after it is ended.

    said      what is written then, before the exit with code 130

    Python raises KeyboardInterrupt between any two of its instructions, also where a lock was taken a moment
    before and nothing gives it back: closing then waits for that lock for ever. A second signal does not wait
    for `patience`. The store of a run is safe against any end of its process.
    """
    stopped: list[int] = []
    asked, ask = os.pipe()

    def watch() -> None:
        if os.read(asked, 1) and not select.select([asked], [], [], patience)[0]:  # not closed meanwhile
            end()
        os.close(asked)

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        if stopped:
            end()
        stopped.append(number)
        os.write(ask, b"!")  # takes no lock, as starting a thread here would
        raise KeyboardInterrupt

    def end() -> NoReturn:
        os.write(2, f"{said}\n".encode())
        os._exit(INTERRUPTED)

    Thread(target=watch, name="hecore-stopping", daemon=True).start()
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if _is_heard(number)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(ask)


def _is_heard(number: signal.Signals) -> bool:
    """A shell lets what it starts in the background ignore Ctrl-C."""
    return signal.getsignal(number) is not signal.SIG_IGN
