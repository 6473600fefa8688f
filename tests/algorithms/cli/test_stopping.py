"""Commands that are stopped end, whatever their closing waits for."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

#: Prints "ready"; after the signal it does as its argument says, and prints "closed" when it has.
PROGRAM = """
import sys, time
from hecore.algorithms.cli.stopping import stoppable

try:
    with stoppable("start it again", patience=float(sys.argv[1])):
        try:
            print("ready", flush=True)
            time.sleep(1000)
        except KeyboardInterrupt:
            print("closing", flush=True)
            time.sleep(float(sys.argv[2]))
            raise
except KeyboardInterrupt:
    print("closed", flush=True)
    time.sleep(float(sys.argv[3]))
"""


def start(patience: float, closing: float, afterwards: float = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(patience), str(closing), str(afterwards)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_does_not_close_is_ended(number: signal.Signals) -> None:
    with start(patience=0.5, closing=1000) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=100)
    assert (process.returncode, out, err) == (130, "closing\n", "start it again\n")


def test_a_second_signal_does_not_wait() -> None:
    with start(patience=1000, closing=1000) as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "closing\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (130, "start it again\n")


def test_one_that_closes_in_time_lives_on() -> None:
    with start(patience=3, closing=0, afterwards=4) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    assert (process.returncode, out, err) == (0, "closing\nclosed\n", "")
