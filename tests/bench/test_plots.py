"""The picture: a PNG with a bar for every row, even for odd records."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from hecore.bench.plots import draw, plot
from hecore.bench.record import Record, RecordError

from .conftest import make_record, make_row


def test_png(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "rates.png"
    plot(record, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    height, width, _ = imread(path).shape
    assert width > 1000
    assert height > 400


def test_one_panel(record: Record) -> None:
    axis = Figure().subplots()
    rows = [row for row in record.rows if row.key_bits == 2048]
    draw(axis, rows, record.subjects)
    assert axis.get_xscale() == "log"
    assert "items a second" in axis.get_xlabel()
    assert [label.get_text() for label in axis.get_yticklabels()] == ["add (values)", "sum (values)"]
    assert sorted(bar.get_width() for bar in axis.patches) == sorted(row.rate for row in rows)
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["gmp", "simd", "phe"]
    assert {text.get_text() for text in axis.texts} >= {"250 k/s", "2.00 M/s"}


def test_batches_are_told_apart() -> None:
    axis = Figure().subplots()
    rows = [make_row("add", "other", 0.1, batch=size) for size in (10, 2000)]
    draw(axis, rows, ["other"])
    assert [text.get_text() for text in axis.texts] == ["10.0 k/s at 10", "10.0 k/s at 2,000"]


def test_an_empty_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no rows"):
        plot(make_record([]), tmp_path / "rates.png")
