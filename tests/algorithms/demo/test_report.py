"""What a run is shown as: the tables' numbers, the sentence, and the plot."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from rich.console import Console

from hecore.algorithms.channel import Metrics
from hecore.algorithms.demo import DemoResult, PartyResult, report
from hecore.algorithms.demo.report import check_plot, megabytes, party_table, plot_run, score_table, summary
from hecore.algorithms.errors import ConfigurationError


def party(**changes) -> PartyResult:
    example = PartyResult(
        scores=[0.5],
        loss=[0.6931, 0.5, 0.41],
        seconds={"encrypt": 1.5, "product": 3.25, "wait": 0.125},
        operations={"encrypt": 1234567, "decrypt": 89},
        sent={"messages": 1200, "bytes": 2_345_678},
        received={"messages": 7, "bytes": 1},
        backend="gmp",
        share="00" * 32,
        link=Metrics(resent_bytes=1_500_000, round_trip=0.0125),
    )
    return replace(example, **changes)


@pytest.fixture
def result() -> DemoResult:
    return DemoResult(
        key_setup_seconds=1.25,
        training_seconds=12.5,
        train_rows=455,
        test_rows=114,
        scores={"joint": (0.99504, 0.95616), "central": (0.99571, 0.98), "alone": (0.9, 1.0)},
        parties={
            "active": party(),
            "passive": party(seconds={"product": 4.0}, sent={"messages": 9, "bytes": 75_400}, loss=[]),
        },
    )


def rendered(table, width: int = 80) -> list[list[str]]:
    """The rows' cells, stripped."""
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return [
        [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in text.splitlines()
    ]


def test_scores_to_four_digits_with_the_number_of_rows(result):
    rows = rendered(score_table(result))
    assert ["held-out rows (114 of 569)"] in rows
    assert ["joint", "0.9950", "0.9562"] in rows
    assert ["central", "0.9957", "0.9800"] in rows
    assert ["alone", "0.9000", "1.0000"] in rows


def test_each_party_has_its_own_column(result):
    rows = rendered(party_table(result))
    assert ["what it took (12.5 s of joint work)"] in rows
    assert ["", "active", "passive"] in rows
    assert ["encrypting shares, seconds", "1.50", "0.00"] in rows
    assert ["encrypted products, seconds", "3.25", "4.00"] in rows
    assert ["sent", "2.3 MB", "75.4 kB"] in rows
    assert ["messages sent", "1,200", "9"] in rows
    assert ["values encrypted", "1,234,567", "1,234,567"] in rows
    assert ["ciphertexts re-randomised", "0", "0"] in rows


def test_every_phase_has_a_colour_of_its_own():
    assert len(set(report.COLOURS)) == len(report.COLOURS) == len(report.PHASES)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0.0 kB"),
        (999, "1.0 kB"),
        (999_949, "999.9 kB"),
        (1_000_000, "1.0 MB"),
        (1_550_000, "1.6 MB"),
        (12_345_678_900, "12,345.7 MB"),
    ],
)
def test_bytes_as_text(count, text):
    assert megabytes(count) == text


def test_the_summary_names_backend_keys_and_loss(result):
    text = summary(result)
    assert text.startswith("backend gmp; keys made in 1.2 s")
    assert "training loss 0.6931 in the first epoch, 0.4100 in the last" in text
    result.parties["passive"].backend = "cuda"
    assert summary(result).startswith("backend cuda, gmp;")


# --- plot ------------------------------------------------------------------------------------------------


def test_the_plot_is_a_png_that_shows_the_phases(result, tmp_path):
    path = tmp_path / "run.png"
    plot_run(result, path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (1300, 546)
    pixels = imread(path)[:, :, :3]
    shown = {tuple(np.round(255 * pixel).astype(int)) for pixel in pixels[::3, ::3].reshape(-1, 3)}
    names = list(report.PHASES)
    for phase, seconds in (("encrypt", True), ("product", True), ("wait", True), ("decrypt", False)):
        colour = report.COLOURS[names.index(phase)]
        area = np.all(np.abs(pixels - to_rgb(colour)) < 0.004, axis=2).sum()
        # A phase that took time has a bar; each has a square in the legend.
        assert (area > 2000) == seconds, (phase, area)
        assert area > 100
    assert len(shown) > 20


def test_a_run_of_one_epoch_has_a_point_at_one(result):
    result.parties["active"].loss = [0.6931]
    axes = Figure().subplots()
    report._plot_loss(axes, result)
    (line,) = axes.get_lines()
    assert line.get_xydata().tolist() == [[1.0, 0.6931]]
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks == [1.0]


def test_epochs_are_whole_numbers(result):
    result.parties["active"].loss = [0.7, 0.6, 0.5]
    axes = Figure().subplots()
    report._plot_loss(axes, result)
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_bars_stand_one_behind_the_other(result):
    axes = Figure().subplots()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report._plot_phases(axes, result)
    ends = {}
    for container in axes.containers:
        for role, bar in zip(("passive", "active"), container, strict=True):
            assert bar.get_x() == pytest.approx(ends.get(role, 0.0))
            ends[role] = bar.get_x() + bar.get_width()
    assert ends == {"active": pytest.approx(4.875), "passive": pytest.approx(4.0)}


@pytest.mark.parametrize("name", ["run", "run.foo", "run.png.txt", ".png"])
def test_a_plot_without_a_known_format_is_refused(tmp_path, name):
    with pytest.raises(ConfigurationError, match=r"ends in no known image format: take \.png"):
        check_plot(tmp_path / name)


def test_a_plot_that_has_no_place_is_refused(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigurationError, match=r"folder\.png is a folder"):
        check_plot(tmp_path / "folder.png")
    with pytest.raises(ConfigurationError, match="nowhere, which is no folder"):
        check_plot(tmp_path / "nowhere" / "run.png")


@pytest.mark.parametrize("name", ["run.png", "run.PNG", "run.svg", "run.pdf"])
def test_what_is_allowed_can_be_written(result, tmp_path, name):
    check_plot(tmp_path / name)
    plot_run(result, tmp_path / name)
    assert (tmp_path / name).stat().st_size > 5_000


def test_a_plot_beside_the_working_directory_needs_no_folder_in_its_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    check_plot(Path("run.png"))
    assert list(tmp_path.iterdir()) == []
