"""What a page tells of a run, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from hecore.algorithms.channel import FolderStore
from hecore.algorithms.errors import ConfigurationError, RecordError
from hecore.algorithms.job.folder import RECORD, RunFolder
from hecore.algorithms.job.timeline import TimelineRecord
from hecore.algorithms.report import build_page, load_run

from .conftest import Record
from .reading import Node, Read

EVIL = "<script>alert('&')</script> \"quoted\" </style> ]]> \x00\x1b"


def page_of(path: Path, *peers: Path) -> Read:
    return Read.page(build_page(load_run(path), [load_run(peer) for peer in peers]))


def rows_of(node: Node) -> list[list[str]]:
    return [[cell.text for cell in row.children if isinstance(cell, Node)] for row in node.all("tr")]


def test_the_head(record: Record) -> None:
    page = page_of(record())
    (head,) = page.all("header")
    assert head.all("h1")[0].text == "Credit default"
    assert head.all(class_="status")[0].text == "finished"
    assert head.all(class_="who")[0].text == "Gradient-boosted trees · bank, active party, with shop"
    tiles = {tile.all("span")[0].text: tile.all("b")[0].text for tile in head.all(class_="tile")}
    assert tiles.pop("from start to end").endswith("s")
    assert tiles.pop("sent and received").endswith("B")
    assert tiles == {
        "AUC, test rows": "0.9123",
        "log loss, test rows": "0.3457",
        "trees": "12",
        "training rows of 2,430 common": "1,700",
    }


def test_results(record: Record) -> None:
    assert rows_of(page_of(record()).sections["results"]) == [
        ["", "training1,700 rows", "test500 rows"],
        ["AUC", "0.9877", "0.9123"],
        ["log loss", "", "0.3457"],
    ]


def test_curves_tell_the_last_value_and_the_best(record: Record) -> None:
    cards = page_of(record()).sections["curves"].all("figure")
    assert [card.all("figcaption")[0].text for card in cards] == ["log loss by tree", "AUC by tree"]
    loss, auc = ([key.text for key in card.all(class_="keys")[0].all("span")] for card in cards)
    assert loss == ["training: 0.0500 after 12", "validation: 0.3083 after 12"]
    assert auc == ["training: 0.9833 after 12", "validation: 0.8917 after 12"]
    told = [title.text for title in cards[0].all("title")]
    assert told[0] == "tree 1: training 0.6000, validation 0.4000"
    assert len(told) == 12


def test_the_time_line_of_both_parties(record: Record) -> None:
    section = page_of(record()).sections["time"]
    parties = [party.text for party in section.all(class_="party")]
    assert parties == [
        "bank (this party)computing 12 % · encryption 38 % · waiting 25 %",
        "shopcomputing 25 % · waiting 38 %",
    ]
    bank, shop = section.all(class_="band")
    assert [title.text for title in bank.all("title")] == [
        "0 s – 1 s: encryption 25 %, waiting 50 %",
        "1 s – 2 s: computing 25 %, encryption 50 %",
    ]
    assert [path.attributes["class"] for path in shop.all("path")] == ["fill compute", "fill wait"]


def test_the_peers_own_record_is_finer(record: Record) -> None:
    peer = record("peer", party="shop", role="passive", peers=("bank",))
    page = page_of(record(), peer)
    assert [b.text for b in page.sections["time"].all("b")] == ["bank", "shop"]
    assert len(page.sections["time"].all(class_="band")[1].all("path")) == 3  # its own line: three categories
    heads = [head.text for head in page.sections["work"].all("h3")]
    assert heads == ["bank: time and operations by phase", "shop: time and operations by phase"]


def test_phases_with_their_operations(record: Record) -> None:
    rows = rows_of(page_of(record()).sections["work"])
    assert rows[1] == [
        "encryptingencryption",
        "",
        "0.75 s",
        "5.6 MB of ciphertexts written1,234 values encrypted",
    ]
    assert [row[0] for row in rows[2:]] == ["waiting for a messagewaiting", "encrypted histogramscomputing"]


def test_messages_each_way(record: Record) -> None:
    run = load_run(record())
    sent = run.record.traffic["shop"].sent.bytes
    section = Read.page(build_page(run)).sections["messages"]
    assert rows_of(section) == [
        ["message", "bank → shop", "shop → bank"],
        ["job.hello", f"{sent} B1 message", f"{sent} B1 message"],
        ["all", f"{sent} B1 message", f"{sent} B1 message"],
    ]
    facts = {pair.all("dt")[0].text: pair.all("dd")[0].text for pair in section.all("dl")[0].all("div")}
    assert facts == {
        "round trip": "12.5 ms",
        "on the wire": "3 MB out, 0 B in",
        "sent again": "1.2 kB",
        "connections": "2",
    }


def test_messages_of_a_run_that_was_resumed_say_why_they_outgrow_the_wire(record: Record) -> None:
    path = record(status="running")
    once = page_of(path).sections["messages"].text
    for _ in range(2):
        RunFolder.open(path).close()
    again = page_of(path).sections["messages"].text
    assert "was started" not in once
    assert "bank was started 3 times. Messages that a later process made or read again count again" in again


def test_own_columns_alone(record: Record) -> None:
    section = page_of(record()).sections["columns"]
    assert rows_of(section)[1:] == [["income", "", "75 %", "2.5"], ["age", "", "25 %", "1.25"]]
    assert "1 not used" in section.text
    assert "Columns of bank alone" in section.text


def test_many_columns(record: Record) -> None:
    many = [{"column": f"c{i}", "share": 1 / 50} for i in range(50)]
    section = page_of(record(importances=many)).sections["columns"]
    assert len(rows_of(section)) == 21
    assert "30 more with 60 % together" in section.text


def test_the_configuration(record: Record) -> None:
    (data, algorithm) = page_of(record()).sections["settings"].all(class_="card")
    assert data.text == "datafiledata.csv"
    assert algorithm.text == "algorithmmax_depth5"  # what is not set is left out


def test_several_passive_parties(record: Record) -> None:
    page = page_of(record(peers=("shop", "clinic", "lab")))
    assert page.all(class_="who")[0].text.endswith("bank, active party, with shop, clinic and lab")
    assert [b.text for b in page.sections["time"].all("b")] == ["bank", "clinic", "lab", "shop"]
    heads = [head.text for head in page.sections["messages"].all("h3")]
    assert heads == ["bank and shop", "bank and clinic", "bank and lab"]


def test_what_is_not_known_is_absent(record: Record) -> None:
    page = page_of(record(party="shop", role="passive", peers=("bank",)))
    assert list(page.sections) == ["time", "work", "messages", "run"]
    assert [link.attributes["href"] for link in page.all("a")] == [f"#{name}" for name in page.sections]


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "r", job="j", party="a", role="active").close()
    (tmp_path / "r" / "state").mkdir(mode=0o700)
    store = FolderStore(tmp_path / "r" / "state" / "store", "a", "j")  # a process is at work
    page = page_of(tmp_path / "r")
    store.close()
    assert list(page.sections) == ["run"]
    assert page.all(class_="status")[0].text == "running"
    assert "last word" in page.all(class_="when")[0].text


@pytest.mark.parametrize("status", ["failed", "stopped", "running"])
def test_a_run_that_did_not_end_well_has_a_page(record: Record, status: str) -> None:
    page = page_of(record(status=status, error="PeerLost: shop is gone" if status == "failed" else ""))
    shown = "stopped" if status == "running" else status  # nobody is at work in this folder
    assert page.all(class_="status")[0].attributes["class"] == f"status {shown}"
    errors = [node.text for node in page.all(class_="error")]
    assert errors == (["PeerLost: shop is gone"] if status == "failed" else [])
    assert "curves" in page.sections


def test_a_run_over_two_processes_says_so(record: Record) -> None:
    path = record(status="stopped")
    with RunFolder.open(path) as run:
        run.finish("finished")
    assert "2, one after the other" in page_of(path).sections["run"].text


def test_one_round_or_one_value_alone(record: Record) -> None:
    path = record(party="shop", role="passive", peers=("bank",))
    (path / "metrics.jsonl").write_text('{"number":1,"seconds":1.0,"train":0.5}\n')
    (card,) = page_of(path).sections["curves"].all("figure")
    assert card.all("figcaption")[0].text == "loss by epoch"


# --- nothing from outside --------------------------------------------------------------------------------


def test_a_page_is_one_file(record: Record) -> None:
    html = build_page(load_run(record()))
    page = Read.page(html)
    names = {node.name for node in page.all()}
    assert names.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "form", "base", "use"})
    for node in page.all():
        assert not {name for name in node.attributes if name.startswith("on") or name in {"src", "srcset"}}
        assert (node.attributes.get("href") or "#").startswith("#")
    (sheet,) = page.all("style")
    assert not any(word in sheet.text for word in ("url(", "@import", "@font-face", "http"))
    policy = next(n for n in page.all("meta") if n.attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def evil_record(record: Record) -> Path:
    """Names from elsewhere in every place that takes one."""
    path = record(
        job=EVIL,
        party=EVIL + "1",
        peers=(EVIL + "2",),
        error=EVIL,
        status="failed",
        algorithm=EVIL,
        protocols=["psi", EVIL],
        backend=EVIL,
        results={EVIL: {EVIL: 0.5, "test": 0.5}},
        importances=[{"column": EVIL, "share": 1.0}],
        configuration={EVIL: {EVIL: EVIL, "list": [EVIL]}},
        timelines={EVIL: {"width": 1.0, "phases": {"<b>": [0.5]}}},
    )
    with RunFolder.open(path) as run:
        run.update(
            seconds={EVIL: 1.0},
            operations={EVIL: {EVIL: 1}},
            traffic={EVIL: {"sent": {"messages": 1, "by_type": {EVIL: {"messages": 1}}}}},
            links={EVIL: {}},
        )
        run.round(1, seconds=1.0, metric=EVIL, train=0.5)
        run.finish("failed", EVIL)
    return path


def test_names_are_text_wherever_they_stand(record: Record) -> None:
    html = build_page(load_run(evil_record(record)))
    assert "\x00" not in html
    assert html.count("</style>") == 1
    page = Read.page(html)
    assert not page.all("script")
    shown = " ".join(EVIL.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").split())
    assert page.all("h1")[0].text == shown
    assert page.all(class_="error")[0].text == shown
    for name in ("results", "curves", "columns", "time", "work", "messages", "reading", "settings"):
        assert shown in page.sections[name].text, name
    assert page.text.count(shown) > 20


# --- records of others -----------------------------------------------------------------------------------


def test_a_record_of_another_job(record: Record) -> None:
    peer = record("peer", job="Another", party="shop", role="passive", peers=("bank",))
    with pytest.raises(ConfigurationError, match="of job 'Another', not of 'Credit default'"):
        page_of(record(), peer)


@pytest.mark.parametrize("party", ["bank", "stranger"])
def test_a_record_of_no_other_party(record: Record, party: str) -> None:
    peer = record("peer", party=party, role="passive", peers=("somebody",))
    with pytest.raises(ConfigurationError, match=f"{party} is not one of the other parties"):
        page_of(record(), peer)


def test_a_passive_party_hears_of_the_others_from_the_active_one(record: Record) -> None:
    own = record("own", party="shop", role="passive", peers=("bank",))
    bank = record("bank", peers=("shop", "lab"))
    lab = record("lab", party="lab", role="passive", peers=("bank",))
    page = page_of(own, bank, lab)
    assert [b.text for b in page.sections["time"].all("b")] == ["shop", "bank", "lab"]
    with pytest.raises(ConfigurationError, match="lab is not one of"):
        page_of(own, lab)


def test_no_record(tmp_path: Path, record: Record) -> None:
    with pytest.raises(RecordError, match="no folder of a run"):
        load_run(tmp_path / "nothing")
    path = record()
    (path / RECORD).write_text("{")
    with pytest.raises(RecordError, match="no record of a run"):
        load_run(path)


def test_an_empty_timeline_is_none(record: Record) -> None:
    path = record(party="shop", role="passive", peers=())
    with RunFolder.open(path) as run:
        run.update(timelines={"shop": TimelineRecord(width=1.0)})
    assert "time" not in page_of(path).sections
