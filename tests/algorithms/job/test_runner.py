"""Whole jobs from files to shares: real files, keys of 2048 bits, sockets on the loopback interface."""

from __future__ import annotations

import csv
import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from hecore import PrivateKey, generate_key
from hecore.algorithms import cli
from hecore.algorithms.data import Ids, read_ids, split_rows
from hecore.algorithms.errors import (
    AlignmentError,
    ChannelTimeout,
    ConfigurationError,
    HandshakeError,
    PeerAborted,
    PeerLost,
    StoreDamaged,
    StoreInUse,
    TableError,
)
from hecore.algorithms.gbdt.model import load_share
from hecore.algorithms.job import home
from hecore.algorithms.job.check import check_job
from hecore.algorithms.job.config import load_job
from hecore.algorithms.job.data import JobData
from hecore.algorithms.job.folder import read_record, read_rounds
from hecore.algorithms.job.party_run import PartyRun
from hecore.algorithms.job.progress import JobProgress
from hecore.algorithms.job.records import RunRecord
from hecore.algorithms.job.runner import Outcome, run_job

from .firms import QUICK, SPLIT, TREES, Firm, make_firms, run_all


@pytest.fixture(autouse=True, scope="module")
def keys_from_a_pool(key: PrivateKey) -> Iterator[None]:
    """Real keys of 2048 bits, made once: three parties a job take turns."""
    pool = itertools.cycle([key, generate_key(), generate_key()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(home, "generate_key", lambda bits: next(pool))
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Firm], list[Outcome]]:
    """A job of three parties that has run to its end."""
    firms = make_firms(tmp_path_factory.mktemp("job"), ("shop", "telco"))
    told: set[tuple[str, str]] = set()
    kept: dict[str, dict[str, int]] = {}
    early: dict[tuple[str, str], RunRecord] = {}

    def watch(firm: Firm, progress: JobProgress) -> None:
        early.setdefault((firm.name, progress.phase), read_record(firm.run))
        told.add((firm.name, progress.detail.partition(",")[0]))
        if progress.detail.startswith("tree 3/3"):
            kept.setdefault(firm.name, read_record(firm.run).totals)

    outcomes = run_all(firms, watch)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    assert {(firm.name, "tree 3/3") for firm in firms} <= told
    # Who is killed now has the work of two trees in its records.
    assert all(kept[firm.name]["validate"] > 0 for firm in firms)
    # And before: when the parties met, and what they have told each other in each phase that is over.
    for firm in firms:
        peer = "bank" if firm is not firms[0] else "shop"
        met, aligned = (early[firm.name, phase] for phase in ("aligning rows", "reading the common rows"))
        assert met.timeline_start is not None
        assert met.traffic[peer].sent.by_type["job.hello"].messages == 1
        assert aligned.timeline_start == met.timeline_start == read_record(firm.run).timeline_start
        assert {"psi.hello", "psi.masked"} <= aligned.traffic[peer].sent.by_type.keys()
        assert aligned.seconds["psi"] > 0
    return firms, outcomes  # type: ignore[return-value]


def test_every_party_has_its_share_of_one_model(done: tuple[list[Firm], list[Outcome]]) -> None:
    _, outcomes = done
    shares = [load_share(outcome.model) for outcome in outcomes]
    assert len({share.model for share in shares}) == 1
    assert [share.party for share in shares] == ["bank", "shop", "telco"]
    assert all(share.columns == ("a", "b", "c") for share in shares)
    assert sum(len(share.splits) for share in shares) > 3
    assert outcomes[0].results["AUC"] > 0.75
    assert [outcome.results for outcome in outcomes[1:]] == [{}, {}]


def test_the_records_tell_what_happened(done: tuple[list[Firm], list[Outcome]]) -> None:
    firms, _ = done
    records = [read_record(firm.run) for firm in firms]
    for firm, record in zip(firms, records, strict=True):
        assert (record.status, record.party, record.backend != "") == ("finished", firm.name, True)
        rows = record.rows
        assert rows.own == 270
        assert rows.common == records[0].rows.common
        assert rows.train + rows.validation + rows.test == rows.common  # type: ignore[operator]
        assert set(record.timelines) >= {"bank", firm.name}
        assert sum(one.share for one in record.importances) == pytest.approx(1.0)
        assert all(record.seconds[phase] > 0 for phase in ("psi", "read", "train", "score"))
        assert ("keys" in record.seconds) == (firm is firms[0])  # of trees the active party alone has a key
        own = record.timelines[firm.name]
        assert sum(own.seconds().values()) > 0.9 * own.end - 2 * own.width  # without a hole
    sent, got = records[0].traffic["shop"].sent, records[1].traffic["bank"].received
    assert sent == got
    assert "gbdt.block" in sent.by_type
    assert {"psi.masked", "job.hello", "job.done"} <= sent.by_type.keys()
    rounds = read_rounds(firms[0].run)["logloss"]
    assert [one.number for one in rounds] == [1, 2, 3]
    assert all(one.validation is not None for one in rounds)
    assert read_rounds(firms[1].run) == {}


def test_the_scores_of_test_rows_are_kept_by_the_active_party(
    done: tuple[list[Firm], list[Outcome]],
) -> None:
    firms, outcomes = done
    table = pq.read_table(firms[0].run / "predictions.parquet")
    assert table.column_names == ["id", "label", "score"]
    assert table.num_rows == read_record(firms[0].run).rows.test
    with open(firms[0].folder / "people.csv") as file:
        labels = {row["id"]: float(row["y"]) for row in csv.DictReader(file)}
    assert [labels[one.as_py()] for one in table["id"]] == table["label"].to_pylist()
    right = (np.array(table["score"]) > 0.5) == np.array(table["label"])
    assert right.mean() == pytest.approx(outcomes[0].results["accuracy"])
    assert not (firms[1].run / "predictions.parquet").exists()


def test_nothing_secret_is_left(done: tuple[list[Firm], list[Outcome]]) -> None:
    firms, _ = done
    for firm in firms:
        assert not (firm.run / "state").exists()
        secret = (firm.folder / "keys").read_text().partition("secret")[2].split('"')[1]
        for path in firm.run.iterdir():
            data = path.read_bytes()
            assert secret.encode() not in data
            assert b"a key of these tests" not in data
            assert not path.stat().st_mode & 0o077, path


def test_a_finished_job_is_not_run_again(done: tuple[list[Firm], list[Outcome]]) -> None:
    firms, outcomes = done
    before = (firms[0].run / "run.json").read_bytes()
    again = run_job(load_job(firms[0].file))
    assert again.again
    assert (again.model, again.results) == (outcomes[0].model, outcomes[0].results)
    assert (firms[0].run / "run.json").read_bytes() == before
    firms[0].edit("max_depth = 2", "max_depth = 4")
    with pytest.raises(ConfigurationError, match=r"finished run with algorithm\.max_depth = 2, now it is 4"):
        run_job(load_job(firms[0].file))
    firms[0].edit("max_depth = 4", "max_depth = 2")


def test_the_finished_run_of_another_job_is_not_taken_for_this_one(
    done: tuple[list[Firm], list[Outcome]],
) -> None:
    bank, shop = done[0][:2]
    folder = f"[run]\nfolder = {json.dumps(str(bank.run))}\n"
    for firm, old, new, told in (
        (
            bank,
            '"credit"',
            '"other"',
            "holds a run of job 'credit', this is job 'other': choose another run.fo",
        ),
        (bank, "people.csv", "no.csv", 'data.file = "people.csv", now it is "no.csv"'),
        (bank, "a key of these tests", "another key of these", "split.key"),
        (shop, "people.csv", "people.csv", "holds a run of party 'bank', this is party 'shop'"),
    ):
        text = firm.file.read_text()
        firm.edit(old, new)
        firm.edit("[run]\n", folder)
        with pytest.raises(ConfigurationError) as caught:
            run_job(load_job(firm.file))
        assert told in str(caught.value)
        firm.file.write_text(text)


def test_a_kill_while_the_state_is_removed_leaves_the_job_finished(
    done: tuple[list[Firm], list[Outcome]],
) -> None:
    bank = done[0][0]
    (bank.run / "state.removed" / "store").mkdir(parents=True)
    assert run_job(load_job(bank.file)).again


def test_a_class_that_no_training_row_has_is_told_before_training(tmp_path: Path) -> None:
    settings = TREES + 'objective = "multi:softprob"\n' + SPLIT + QUICK
    firms = make_firms(tmp_path, settings=settings)
    firms[1].edit("grace = 100.0", "grace = 1.0")  # it waits for the other, whose fault it is
    ids = [set(read_ids(firm.folder / "people.csv")) for firm in firms]
    common = Ids(sorted(ids[0] & ids[1]))
    parts = split_rows(common, b"a key of these tests", validation=0.2, test=0.2)
    rare = {common[int(place)] for place in parts.test[:3]}
    path = firms[0].folder / "people.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line[:-1] + "2" if line[:4] in rare else line for line in lines))
    error, other = run_all(firms)
    assert isinstance(error, TableError)
    assert "class 2 has 3 rows, none of them for training" in str(error)
    assert isinstance(other, Exception)
    shown = CliRunner().invoke(cli.app, ["party", "status", str(firms[0].file)]).stdout
    told = f"mend them, and start all parties with --anew, here `hecore party run {firms[0].file} --anew`"
    assert "".join(told.split()) in "".join(shown.split())  # a line is broken anywhere in a long path
    path.write_text("\n".join(line for line in lines if line[:4] not in rare))  # which changes the ids
    firms[1].edit("grace = 1.0", "grace = 100.0")
    with ThreadPoolExecutor() as pool:
        again = list(pool.map(lambda firm: run_job(load_job(firm.file), anew=True), firms))
    assert [outcome.again for outcome in again] == [False, False]


def test_what_a_damaged_store_leaves_is_forgotten_on_demand(tmp_path: Path) -> None:
    bank, _ = make_firms(tmp_path, rows=40)
    bank.edit("wait = 100.0", "wait = 0.2")
    job = load_job(bank.file)
    home.Home(job).open_store().close()
    (bank.run / "state" / "store" / "secret").unlink()
    with pytest.raises(StoreDamaged):
        run_job(job)
    with pytest.raises(ChannelTimeout):
        run_job(job, anew=True)


def test_settings_may_be_mended_as_long_as_nobody_was_met(tmp_path: Path) -> None:
    bank, _ = make_firms(tmp_path, rows=40)
    bank.edit("wait = 100.0", "wait = 0.2")
    for depth in (2, 3):
        with pytest.raises(ChannelTimeout):
            run_job(load_job(bank.file))
        assert not (bank.run / "state").exists()
        bank.edit(f"max_depth = {depth}", f"max_depth = {depth + 1}")


def test_a_linear_job_tells_what_it_cannot_take_before_anybody_is_asked(tmp_path: Path) -> None:
    bank, _ = make_firms(tmp_path, rows=40, settings='[algorithm]\nname = "linear"\n' + SPLIT + QUICK)
    path = bank.folder / "people.csv"
    head, first, *rest = path.read_text().splitlines()
    cells = first.split(",")
    for cell, told in (
        ("", "column 'b' lacks 1 value;"),
        ("red", "column 'b' is no number, all others are: mend it$"),
    ):
        path.write_text("\n".join([head, ",".join([*cells[:2], cell, *cells[3:]]), *rest]) + "\n")
        with pytest.raises(TableError, match=told):
            run_job(load_job(bank.file))


def test_a_second_process_leaves_the_first_in_peace(tmp_path: Path) -> None:
    bank, _ = make_firms(tmp_path, rows=40)
    job = load_job(bank.file)
    store = home.Home(job).open_store()
    with pytest.raises(StoreInUse):
        run_job(job)
    with pytest.raises(StoreInUse):
        run_job(job, anew=True)
    assert not (bank.run / "run.json").exists()
    store.close()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (TREES.replace("max_depth = 2", "max_depth = 3"), "algorithm.max_depth is 2 at bank but 3 at shop"),
        (SPLIT.replace("0.2", "0.1"), "split.test is 0.2 at bank but 0.1 at shop"),
        (
            "[alignment]\nmethod = 'none'\nmin_intersection = 9\n",
            "alignment.method is 'psi' at bank but 'none' at shop, alignment.min_intersection is 1 at",
        ),
    ],
)
def test_what_differs_is_named_on_both_sides(tmp_path: Path, settings: str, told: str) -> None:
    bank, shop = make_firms(tmp_path)
    plain = TREES + SPLIT + QUICK
    changed = {TREES: settings} if settings.startswith("[algo") else {SPLIT: settings}
    if settings.startswith("[align"):
        changed = {QUICK: QUICK + settings}
    for old, new in changed.items():
        shop.edit(old, new)
    assert plain in bank.file.read_text()
    errors = run_all([bank, shop])
    for error in errors:
        assert isinstance(error, HandshakeError)
        for setting in told.split(", "):
            assert setting.split(" is ", maxsplit=1)[0] in str(error)
        assert "bank" in str(error)
        assert "shop" in str(error)
    assert told in str(errors[0])
    assert read_record(bank.run).status == "failed"
    assert "both parties must configure the same" in read_record(bank.run).error


@pytest.mark.parametrize(
    ("place", "old", "new", "told"),
    [
        (
            0, 'name = "bank"', 'name = "bnk"',
            ["shop calls this party 'bank', and its own name here is 'bnk'", "has 'bnk' as its own name"],
        ),
        (
            0, 'role = "active"', 'role = "passive"',
            ["bank and shop are both passive", "shop and bank are both passive"],
        ),
        (
            1, 'role = "passive"', 'role = "active"',
            ["bank and shop are both active", "shop and bank are both active"],
        ),
    ],
    ids=["name", "passive", "active"],
)  # fmt: skip
def test_a_slip_in_who_is_who_ends_both_sides_at_once_and_can_be_mended(
    tmp_path: Path, place: int, old: str, new: str, told: list[str]
) -> None:
    firms = make_firms(tmp_path)
    firm = firms[place]
    firm.edit(old, new)
    if new == 'role = "passive"':
        firm.edit('label = "y"\n', "")
    elif new == 'role = "active"':
        firm.edit('file = "people.csv"\n', 'file = "people.csv"\nlabel = "y"\n')
        head, *lines = (firm.folder / "people.csv").read_text().splitlines()
        rows = [f"{line},{number % 2}" for number, line in enumerate(lines)]
        (firm.folder / "people.csv").write_text("\n".join([f"{head},y", *rows]))
    began = time.monotonic()
    errors = run_all(firms)
    assert time.monotonic() - began < 60  # of the 100 that they would wait
    for error, text in zip(errors, told, strict=True):
        assert isinstance(error, HandshakeError), error
        assert text in str(error)
    for firm in firms:
        assert not (firm.run / "state").exists()  # mended, it begins as if nothing had been


def test_labels_that_fit_no_class_are_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    bank, _ = make_firms(tmp_path)
    path = bank.folder / "people.csv"
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *(line[:-1] + str(2 * int(line[-1]) - 1) for line in lines)]))
    [error] = run_all([bank])
    assert isinstance(error, TableError)
    assert "label -1 is neither 0 nor 1: data.positive" in str(error)
    bank.edit('label = "y"', 'label = "y"\npositive = 1.0')
    assert all(finding.good for finding in check_job(load_job(bank.file)))


def test_what_is_refused_before_the_work_begins_can_be_mended(tmp_path: Path) -> None:
    """Unequal settings first, then ids that repeat; with both mended the same folders train."""
    firms = make_firms(tmp_path, ("shop", "telco"))
    _, shop, telco = firms
    shop.edit("max_depth = 2", "max_depth = 3")
    for error in run_all(firms):
        assert isinstance(error, HandshakeError)
        assert "algorithm.max_depth is " in str(error)
    shop.edit("max_depth = 3", "max_depth = 2")
    path = telco.folder / "people.csv"
    good = path.read_text()
    path.write_text(good + good.splitlines()[1] + "\n")
    errors = run_all(firms)
    assert all(isinstance(error, AlignmentError | PeerAborted | PeerLost) for error in errors), errors
    assert "telco: of 271 ids, 1 row repeats" in str(errors[0])
    assert "telco: of 271 ids, 1 row repeats" in str(errors[2])
    path.write_text(good)
    outcomes = run_all(firms)
    assert all(isinstance(outcome, Outcome) for outcome in outcomes), outcomes


def test_a_job_under_way_is_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    firms = make_firms(tmp_path)

    def broken(*arguments: object) -> None:
        raise TableError("a disk has broken")

    with monkeypatch.context() as patch:
        patch.setattr(JobData, "rows", broken)
        assert all(isinstance(error, TableError | PeerLost) for error in run_all(firms))
    for firm in firms:
        firm.edit("max_depth = 2", "max_depth = 3")
    for error in run_all(firms):
        assert isinstance(error, ConfigurationError)
        assert "algorithm.max_depth is 3 now, but the job under way began with 2" in str(error)
    for firm in firms:
        firm.edit("max_depth = 3", "max_depth = 2")
    assert all(isinstance(outcome, Outcome) for outcome in run_all(firms))
    for firm in firms:
        firm.edit("max_depth = 2", "max_depth = 3")
    with ThreadPoolExecutor() as pool:
        again = list(pool.map(lambda firm: run_job(load_job(firm.file), anew=True), firms))
    assert not any(outcome.again for outcome in again)
    for firm in firms:  # what there was is put aside
        [kept] = firm.run.parent.glob("credit.*")
        assert load_share(kept / "model.safetensors").party == firm.name


def run_until_a_disk_breaks(firms: list[Firm], monkeypatch: pytest.MonkeyPatch) -> None:
    """All find their common rows, and end before they read them."""

    def broken(*arguments: object) -> None:
        raise TableError("a disk has broken")

    with monkeypatch.context() as patch:
        patch.setattr(JobData, "rows", broken)
        run_all(firms)


def test_who_has_changed_the_data_meanwhile_hears_which_file_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    firms = make_firms(tmp_path)
    run_until_a_disk_breaks(firms, monkeypatch)
    data = firms[1].folder / "people.csv"
    data.write_text("".join(data.read_text().splitlines(keepends=True)[:-1]))
    told = f"people.csv has changed since this job began: put it back .*run {firms[1].file} --anew"
    with pytest.raises(TableError, match=told):
        run_job(load_job(firms[1].file))


def test_who_has_changed_the_job_file_meanwhile_hears_which_key_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    firms = make_firms(tmp_path)

    def broken(*arguments: object) -> None:
        raise TableError("a disk has broken")

    with monkeypatch.context() as patch:  # after the training
        patch.setattr(PartyRun, "_score", broken)
        assert all(isinstance(error, TableError | PeerLost) for error in run_all(firms))
    bank, _ = firms
    bank.edit('label = "y"', 'label = "y"\ndrop = ["c"]')
    told = (
        rf'data.drop is \["c"\] now, but the job under way began with \[\]: set it back.*{bank.file} --anew'
    )
    for _ in range(2):  # what was told once is not forgotten
        with pytest.raises(ConfigurationError, match=told):
            run_job(load_job(bank.file))
    bank.edit('drop = ["c"]', "")
    data = bank.folder / "people.csv"
    whole = data.read_text()
    data.write_text(whole.replace(".", "1."))  # other values, the same ids
    with pytest.raises(TableError, match="has changed since this job began"):
        run_job(load_job(bank.file))
    data.write_text(whole)
    assert all(isinstance(outcome, Outcome) for outcome in run_all(firms))


@pytest.mark.parametrize("anew", ["bank", "shop"])
def test_both_sides_hear_that_one_alone_has_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anew: str
) -> None:
    firms = make_firms(tmp_path)
    run_until_a_disk_breaks(firms, monkeypatch)

    def start(firm: Firm, *, again: bool) -> Outcome | Exception:
        try:
            return run_job(load_job(firm.file), anew=again)
        except HandshakeError as error:
            return error

    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        errors = list(pool.map(lambda firm: start(firm, again=firm.name == anew), firms))
    assert time.monotonic() - began < 60  # not for `grace` seconds
    for error in errors:
        assert f"{anew} has begun anew, or its store was removed or set back" in str(error)
        assert "begin anew with empty stores at all parties (a job: hecore party run --anew)" in str(error)
    with ThreadPoolExecutor() as pool:  # which of them has been told before does not matter
        outcomes = list(pool.map(lambda firm: start(firm, again=True), firms))
    assert all(isinstance(outcome, Outcome) for outcome in outcomes), outcomes


def test_progress_is_written_for_others_to_read(done: tuple[list[Firm], list[Outcome]]) -> None:
    firms, _ = done
    progress = json.loads((firms[0].run / "progress.json").read_text())
    assert progress["phase"] == "finished"
    assert set(progress["peers"]) == {"shop", "telco"}
