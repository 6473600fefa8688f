"""Pages in headless Chromium: they need no network, complain of nothing, and fit any width."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from hecore.algorithms.report import build_page, load_run

from .browser import Browser, Page
from .conftest import Record

#: For each drawing, whether its shapes lie in it.
INSIDE = """[...document.querySelectorAll('.area, .band')].map(area => {
    const a = area.getBoundingClientRect();
    return [...area.querySelectorAll('path, rect')].map(shape => {
        const s = shape.getBoundingClientRect();
        return s.left >= a.left - 1 && s.right <= a.right + 1
            && s.top >= a.top - 1 && s.bottom <= a.bottom + 1;
    });
})"""


@pytest.fixture
def file(record: Record, tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    peer = record("peer", party="shop", role="passive", peers=("bank",))
    names = {f"a_column_with_a_name_{i}" + "_and_more" * i: i for i in range(1, 9)}
    run = record(importances=[{"column": name, "share": i / 36} for name, i in names.items()])
    path.write_text(build_page(load_run(run), [load_run(peer)]), encoding="utf-8")
    return path


def pixels(page: Page) -> np.ndarray:
    return imread(io.BytesIO(page.screenshot()))[:, :, :3]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 390])
def test_a_page_opens_without_a_network(browser: Browser, file: Path, width: int, dark: bool) -> None:
    page = browser.open(file, width=width, dark=dark)
    assert page.requests() == [file.as_uri()]
    assert page.complaints() == []
    assert page.value("document.querySelectorAll('section').length") == 9
    assert page.value("document.documentElement.scrollWidth") == width, "it can be moved sideways"


def test_a_page_is_drawn(browser: Browser, file: Path) -> None:
    shots = {dark: pixels(browser.open(file, dark=dark)) for dark in (False, True)}
    for shot in shots.values():
        codes = (255 * shot).round().astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        assert np.unique(codes).size > 100
    assert shots[False].mean() > 0.85
    assert shots[True].mean() < 0.25


def test_shapes_are_where_they_belong(browser: Browser, file: Path) -> None:
    page = browser.open(file)
    boxes = page.value(INSIDE)
    assert len(boxes) == 4  # two curves, two parties
    assert all(inside for area in boxes for inside in area)
    assert all(len(area) >= 4 for area in boxes)


def test_it_prints_on_white(browser: Browser, file: Path) -> None:
    page = browser.open(file, dark=True)
    page.emulate(scheme="dark", medium="print")
    assert pixels(page).mean() > 0.85
    assert page.value("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_a_name_is_no_markup(browser: Browser, record: Record, tmp_path: Path) -> None:
    name = "<script>document.title = 'taken'</script><img src=http://example.org/x onerror=alert(1)>"
    file = tmp_path / "names.html"
    run = record(importances=[{"column": name, "share": 1.0}], job="a job")
    file.write_text(build_page(load_run(run)), encoding="utf-8")
    page = browser.open(file)
    assert page.value("document.title") == "a job: bank"
    assert page.value("document.querySelector('#columns tbody th').textContent") == name
    assert page.value("document.querySelectorAll('script, img').length") == 0
    assert page.requests() == [file.as_uri()]
    assert page.complaints() == []


def test_a_page_that_loads_something_would_be_noticed(browser: Browser, file: Path) -> None:
    changed = file.read_text(encoding="utf-8").replace(
        "</main>", "<img src='http://example.org/x.png'></main>"
    )
    file.write_text(changed, encoding="utf-8")
    page = browser.open(file)
    assert any("Content Security Policy" in text for text in page.complaints())


def test_a_wide_page_would_be_noticed(browser: Browser, file: Path) -> None:
    wide = "<div style='width:900px'>wide</div></main>"
    file.write_text(file.read_text(encoding="utf-8").replace("</main>", wide), encoding="utf-8")
    page = browser.open(file, width=390)
    assert page.value("document.documentElement.scrollWidth") > 390
