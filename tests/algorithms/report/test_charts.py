"""Axes, bars and names: what is drawn where, and how figures read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hecore.algorithms.job.timeline import TimelineRecord
from hecore.algorithms.report import charts, words
from hecore.algorithms.report.html import document, inline, style, tag


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 10))
def test_ticks_are_round_and_embrace_all(low: float, span: float, about: int) -> None:
    high = low + span
    marks = charts.ticks(low, high, about)
    step = marks[1] - marks[0]
    assert marks[0] <= low + 1e-6 * step
    assert marks[-1] >= high - 1e-6 * step
    assert 2 <= len(marks) <= about + 3


@pytest.mark.parametrize(
    ("low", "high", "about", "expected"),
    [
        (0.0, 0.6, 4, [0.0, 0.2, 0.4, 0.6]),
        (1, 30, 6, [0, 5, 10, 15, 20, 25, 30]),
        (0.52, 0.58, 4, [0.52, 0.54, 0.56, 0.58]),
        (3.0, 3.0, 4, [3, 4, 5, 6]),
        (0.5, 0.5 + 1e-16, 4, [0.4, 0.6, 0.8, 1.0]),
        (-3.0, -3.0, 4, [-3, -2, -1, 0]),
        (0.0, 0.0, 4, [0.0, 0.5, 1.0]),
    ],
)
def test_some_ticks(low: float, high: float, about: int, expected: list[float]) -> None:
    assert charts.ticks(low, high, about) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, 0.5, 0.97, 1.0])
def test_the_axis_of_a_share_ends_at_1_even_where_it_never_changes(value: float) -> None:
    curve = charts.Curve("training", "one", [(1, value), (2, value)])
    chart = charts.line_chart([curve], "tree", (0.0, 1.0))
    marks = [float(mark.text or "") for mark in chart.findall("div[@class='y']/span")]
    assert (min(marks), max(marks)) == (0.0, 1.0)


@given(st.floats(0, 1), st.floats(0, 1))
def test_no_mark_is_outside_of_the_bounds(one: float, other: float) -> None:
    marks = charts.ticks(min(one, other), max(one, other), 4, (0.0, 1.0))
    assert marks[0] >= -1e-9
    assert marks[-1] <= 1 + 1e-9


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (12.0, [0, 2, 4, 6, 8, 10, 12]),
        (400.0, [0, 120, 240, 360]),
        (7200.0, [0, 1800, 3600, 5400, 7200]),
        (90_000.0, [0, 21600, 43200, 64800, 86400]),
        (0.4, [0, 0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_time_is_told_in_units_of_people(end: float, expected: list[float]) -> None:
    assert charts.time_ticks(end) == pytest.approx(expected)


def test_a_curve_from_corner_to_corner() -> None:
    curve = charts.Curve("training", "one", [(1, 0.0), (2, 0.5), (3, 1.0)])
    line = charts.line_chart([curve], "tree").find(".//path[@class='line one']")
    assert line is not None
    assert line.get("d") == "M0.0 1000.0L500.0 500.0L1000.0 0.0"


def test_a_value_that_is_missing_leaves_a_gap() -> None:
    curve = charts.Curve("training", "one", [(1, 1.0), (2, None), (3, 0.0), (4, 0.5)])
    line = charts.line_chart([curve], "tree").find(".//path[@class='line one']")
    assert line is not None
    assert line.get("d") == "M0.0 0.0M666.7 1000.0L1000.0 500.0"


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-9, 2e12])
def test_one_round_alone_is_a_dot(value: float) -> None:
    chart = charts.line_chart([charts.Curve("training", "one", [(1, value)])], "tree")
    dot = chart.find(".//path[@class='dot one']")
    assert dot is not None
    assert dot.get("d", "").startswith("M0.0 ")


def test_of_many_rounds_some_are_left_out() -> None:
    points = [(n, 1 / n) for n in range(1, 10_001)]
    chart = charts.line_chart([charts.Curve("training", "one", points)], "tree")
    titles = [title.text or "" for title in chart.iter("title")]
    assert 300 < len(titles) <= charts.MOST_POINTS + 1
    assert titles[0].startswith("tree 1:")
    assert titles[-1].startswith("tree 10000:")


def test_a_band_is_filled_from_below() -> None:
    record = TimelineRecord(width=2.0, phases={"wait": (1.0,), "local": (0.5, 2.0)})
    band = charts.timeline_band(record, 8.0)
    paths = {path.get("class"): path.get("d") for path in band.iter("path")}
    assert paths == {
        "fill compute": "M0.00 750.0h250.00v250.0h-250.00zM250.00 0.0h250.00v1000.0h-250.00z",
        "fill wait": "M0.00 250.0h250.00v500.0h-250.00z",
    }


@pytest.mark.parametrize(("part", "width"), [(0.5, "50.0%"), (7.0, "100.0%"), (-1.0, "0.0%")])
def test_a_bar_stays_within_its_place(part: float, width: str) -> None:
    assert charts.bar(part)[0].get("style") == f"width:{width}"


# --- names and figures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.0001, "< 1 ms"),
        (0.0123, "12 ms"),
        (1.234, "1.23 s"),
        (15.26, "15.3 s"),
        (60.0, "1 min"),
        (75.6, "1 min 16 s"),
        (3599.9, "1 h"),
        (3660.0, "1 h 1 min"),
        (90_000.0, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (12_345, "12.3 kB"),
        (999_499, "999 kB"),
        (999_600, "1 MB"),
        (5_600_000_000, "5.6 GB"),
        (2.5e15, "2,500 TB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("part", "text"), [(0.0, "0 %"), (0.0001, "< 0.1 %"), (0.034, "3.4 %"), (0.456, "46 %"), (1.0, "100 %")]
)
def test_shares(part: float, text: str) -> None:
    assert words.share(part) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.91234, "0.9123"),
        (12.5, "12.5000"),
        (12345.6, "12,345.6"),
        (1e-5, "1e-05"),
        (0.0, "0"),
    ],
)
def test_metrics(value: float | None, text: str) -> None:
    assert words.number(value) == text


def test_operations_without_a_name_keep_theirs() -> None:
    assert words.operation("encrypt", 1234) == ("1,234", "values encrypted")
    assert words.operation("bytes_read", 1234) == ("1.23 kB", "of ciphertexts read")
    assert words.operation("new", 1) == ("1", "new")


# --- elements -------------------------------------------------------------------------------------------


def test_texts_and_attributes_are_escaped() -> None:
    element = tag("p", "a < b & ", tag("b", "<i>"), [" end", None], title='"<&', data_label="x", class_=None)
    assert document(element) == (
        '<!DOCTYPE html>\n<p title="&quot;<&amp;" data-label="x">a &lt; b &amp; <b>&lt;i&gt;</b> end</p>\n'
    )


def test_what_no_page_can_hold() -> None:
    assert tag("p", "a\x00b\ud800").text == "a\ufffdb\ufffd"


def test_a_style_cannot_end_early() -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        style("p {} </style><script>")


def test_inline_markdown() -> None:
    element = tag("p", inline("the `a*b*` of **many** *small* ones * here"))
    expected = "<p>the <code>a*b*</code> of <strong>many</strong> <em>small</em> ones * here</p>"
    assert document(element) == f"<!DOCTYPE html>\n{expected}\n"
