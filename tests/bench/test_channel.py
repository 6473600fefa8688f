"""The channel's benchmark measures what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hecore.bench.channel import measure_channel, report_lines
from hecore.bench.channel_senders import measure_senders, senders_line
from hecore.bench.cli import app


def test_figures(tmp_path: Path) -> None:
    figures = measure_channel(tmp_path, megabytes=80, message=8, acks=50)
    assert figures.megabytes == 80
    assert figures.rate > 1  # on a machine with everything else to do; docs/reliability.md has the real ones
    assert 0 < figures.ack_median <= figures.ack_p99 <= figures.ack_worst < 60_000
    # Not more than the window, what is kept of the newest blocks, and two messages being put together.
    assert max(figures.sender_growth, figures.receiver_growth) < figures.window + 64
    assert list(tmp_path.iterdir()) == []
    assert "MB/s" in report_lines(figures)[0]


def test_senders(tmp_path: Path) -> None:
    figures = measure_senders(tmp_path, senders=2, seconds=1.5)
    assert len(figures.each) == 2
    assert min(figures.alone, *figures.each) > 0
    assert figures.share == pytest.approx(sum(figures.each) / figures.alone)
    assert 0.5 <= figures.jain <= 1
    assert "2 senders at once" in senders_line(figures)
    assert list(tmp_path.iterdir()) == []


def test_command(tmp_path: Path) -> None:
    arguments = [
        "channel",
        "--folder",
        str(tmp_path),
        "--megabytes",
        "4",
        "--message",
        "2",
        "--acks",
        "3",
        "--senders",
        "0",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "durable and encrypted" in result.stdout
