"""A real job of two parties, at 2048 bits, and the page that each can make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hecore.algorithms.job.folder import read_rounds
from hecore.algorithms.job.party_run import Outcome
from hecore.algorithms.report import build_page, load_run

from ..job.firms import QUICK, SPLIT, make_firms, run_all
from .reading import Read

LINEAR = '[algorithm]\nname = "linear"\nepochs = 2\nbatch_size = 64\nallow_small_data = true\n'


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    firms = make_firms(tmp_path_factory.mktemp("firms"), rows=200, settings=LINEAR + SPLIT + QUICK)
    outcomes = run_all(firms)
    assert all(isinstance(outcome, Outcome) for outcome in outcomes), outcomes
    return {firm.name: firm.run for firm in firms}


def test_every_epoch_has_its_own_loss(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        share = json.loads((folder / "model.json").read_text())
        rounds = read_rounds(folder)["loss"]
        assert [(one.number, one.train) for one in rounds] == list(enumerate(share["loss"], 1))


def test_validation_rows_have_a_curve_at_the_active_party(folders: dict[str, Path]) -> None:
    share = json.loads((folders["bank"] / "model.json").read_text())
    rounds = read_rounds(folders["bank"])["auc"]
    values = list(enumerate(share["active"]["metrics"], 1))
    assert [(one.number, one.train, one.validation) for one in rounds] == [(n, None, v) for n, v in values]
    assert list(read_rounds(folders["shop"])) == ["loss"]


def test_the_page_of_either_party(folders: dict[str, Path]) -> None:
    views = {name: load_run(folder) for name, folder in folders.items()}
    bank, shop = (Read.page(build_page(views[name])) for name in ("bank", "shop"))
    assert list(bank.sections) == [
        "results", "curves", "time", "columns", "work", "messages", "reading", "settings", "run"
    ]  # fmt: skip
    assert list(shop.sections) == list(bank.sections)[1:]
    for name, page in (("bank", bank), ("shop", shop)):
        record = views[name].record
        other = "shop" if name == "bank" else "bank"
        assert [b.text for b in page.sections["time"].all("b")] == [name, other]
        assert {row.all("th")[0].text for row in page.sections["columns"].all("tr")[1:]} == {"a", "b", "c"}
        assert sum(one.share for one in record.importances) == pytest.approx(1.0)
        cards = [card.all("h3")[0].text for card in page.sections["reading"].all(class_="leaks")]
        assert cards[0] == "Private set intersection"
        assert cards[-1] == "Joint jobs"
        # Every kind of message that went over the line is in a table of who can read it.
        listed = {code.text for code in page.sections["reading"].all("code")}
        sent = {tag for way in record.traffic.values() for tag in way.sent.by_type}
        assert sent <= listed


def test_both_time_lines_begin_when_the_parties_met(folders: dict[str, Path]) -> None:
    lines = load_run(folders["bank"]).record.timelines
    theirs = load_run(folders["shop"]).record.timelines["shop"].coarse()
    assert lines["shop"].seconds().keys() <= theirs.seconds().keys() | {"wait", "network"}
    assert abs(lines["bank"].end - lines["shop"].end) < 2.0
