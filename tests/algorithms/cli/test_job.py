"""`hecore job` and `hecore party run|status` at the prompt: what is written, and how it ends."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hecore.algorithms import cli
from hecore.algorithms.channel import AllowList, CurveKeys
from hecore.algorithms.errors import (
    ANEW,
    AlignmentError,
    ChannelTimeout,
    CheckpointError,
    ConfigurationError,
    Fenced,
    HandshakeError,
    PeerAborted,
    PeerLost,
    StoreError,
    StoreInUse,
    TableError,
)
from hecore.algorithms.job.config import load_job
from hecore.algorithms.job.failures import exit_code, next_step
from hecore.algorithms.job.folder import read_record
from hecore.algorithms.job.home import Home
from hecore.algorithms.job.log import log_to
from hecore.algorithms.job.recording import open_records

from ..job.firms import Firm, make_firms


def run(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, [str(a) for a in arguments])


def flat(text: str) -> str:
    return " ".join(text.split())


def joined(text: str) -> str:
    """Without blanks: a table breaks a long path anywhere."""
    return "".join(text.split())


@pytest.fixture
def bank(tmp_path: Path) -> Firm:
    return make_firms(tmp_path, rows=40)[0]


def test_a_job_file_from_nothing(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    given = ("--name", "bank", "--peer", "shop", "--data", "people.csv", "--role", "active")
    refused = run("job", "init", file, *given, "--listen", "tcp://0.0.0.0:5701")
    assert refused.exit_code == 1
    assert "--label" in refused.stderr
    assert not file.exists()
    written = run("job", "init", file, *given, "--listen", "tcp://0.0.0.0:5701", "--label", "y")
    assert written.exit_code == 0
    assert "hecore job check" in written.stdout
    again = run("job", "init", file, *given, "--listen", "tcp://0.0.0.0:5701", "--label", "y")
    assert again.exit_code == 1
    assert "is not overwritten" in again.stderr
    shown = run("job", "show", file)
    assert shown.exit_code == 0
    assert "split.test" in shown.stdout
    lines = shown.stdout.splitlines()
    assert "agreed" in next(line for line in lines if "algorithm.max_depth" in line)
    assert "agreed" not in next(line for line in lines if "data.file" in line)
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
    assert ["job", '"job"', "agreed"] in cells
    assert ["data.drop", "[]", ""] in cells
    assert ["data.positive", "not set", ""] in cells
    assert ["run.predictions", "true", ""] in cells


def test_the_folder_of_another_job_is_refused_with_the_remedy(bank: Firm) -> None:
    bank.edit("wait = 100.0", f"wait = 0.2\nfolder = {json.dumps(str(bank.run))}")
    store = Home(load_job(bank.file)).open_store()  # a run under way, which has begun
    with open_records(load_job(bank.file)) as folder:
        folder.finish("failed", "PeerLost: shop")
    store.close()
    bank.edit('job = "credit"', 'job = "other"')
    told = f"{bank.run} holds a run of job 'credit', this is job 'other': choose another run.folder"
    for more in ([], ["--anew"]):
        ended = run("party", "run", bank.file, *more)
        assert ended.exit_code == 1
        assert joined(told) in joined(ended.stderr)
    assert (bank.run / "state" / "store").exists()
    checked = run("job", "check", bank.file)
    assert checked.exit_code == 1
    assert joined(told) in joined(checked.stdout)


def test_check_finds_what_is_wrong_and_says_how_many(bank: Firm) -> None:
    good = run("job", "check", bank.file)
    assert good.exit_code == 0, good.output
    assert "ready: hecore party run" in good.stdout
    assert "36, all different" in good.stdout
    [trusted] = AllowList.load(bank.folder / "allowed.toml").keys_of("shop")
    assert f"shop with {trusted}" in flat(good.stdout)
    (bank.folder / "keys").chmod(0o644)
    path = bank.folder / "people.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]) + "\n")
    bad = run("job", "check", bank.file)
    assert bad.exit_code == 1
    assert "chmod 600" in flat(bad.stdout)
    assert "0 rows without an id, 1 with the id of an earlier row" in flat(bad.stdout)
    assert "2 of 8 to mend" in bad.stderr


def test_check_knows_its_own_key_under_the_name_of_another(bank: Firm) -> None:
    own = CurveKeys.load(bank.folder / "keys").public
    AllowList({"shop": own}).save(bank.folder / "allowed.toml")
    checked = run("job", "check", bank.file)
    assert checked.exit_code == 1
    assert "this party's own key under the name shop: hecore party distrust shop" in flat(checked.stdout)


def rewrite(bank: Firm, cells: dict[str, str], rows: int = 1) -> None:
    """The first rows of its file have other cells in these columns."""
    path = bank.folder / "people.csv"
    head, *lines = path.read_text().splitlines()
    for place, line in enumerate(lines[:rows]):
        row = dict(zip(head.split(","), line.split(","), strict=True)) | cells
        lines[place] = ",".join(row.values())
    path.write_text("\n".join([head, *lines]) + "\n")


@pytest.mark.parametrize(
    ("cells", "data", "told"),
    [
        ({"y": "many"}, "", "'many' at line 2 (id 'p0"),
        ({"y": "many"}, "", "column 'y' is no number, all others are: mend it"),
        ({"b": "many"}, "", "column 'b' is no number, all others are: mend it, or name"),
        ({"b": "inf"}, "", "column 'b': a finite number is needed, impute it or drop the row"),
        ({"y": ""}, "", "column 'y': drop the rows without a label"),
        ({"y": ""}, "positive = 1", "column 'y': drop the rows without a label"),
        ({"y": "inf"}, "", "column 'y' is no finite number"),
        ({}, "positive = 7", "no label in column 'y' is that; labels are numbers from 0 to 1"),
        ({}, 'drop = ["a", "b", "c"]', "no column is left beside id 'id' and label 'y': every party"),
        ({}, 'categorical = ["z"]', "people.csv has no column 'z'"),
    ],
)
def test_check_and_run_refuse_the_same_before_anybody_is_asked(
    bank: Firm, cells: dict[str, str], data: str, told: str
) -> None:
    rewrite(bank, cells)
    bank.edit('label = "y"\n', f'label = "y"\n{data}\n')
    checked = run("job", "check", bank.file)
    assert checked.exit_code == 1
    assert told in flat(checked.stdout)
    ended = run("party", "run", bank.file)
    assert ended.exit_code == 1
    assert told in flat(ended.stderr)
    assert not (bank.run / "state").exists()


@pytest.mark.parametrize("objective", ["reg:squarederror", "count:poisson", "multi:softprob"])
def test_check_finds_missing_labels_of_every_objective(bank: Firm, objective: str) -> None:
    bank.edit('name = "gbdt"', f'name = "gbdt"\nobjective = "{objective}"')
    rewrite(bank, {"y": "nan"})
    checked = run("job", "check", bank.file)
    assert checked.exit_code == 1
    assert "wrong label people.csv: no label at line 2" in flat(checked.stdout)


def test_labels_may_be_texts(bank: Firm) -> None:
    path = bank.folder / "people.csv"
    head, *lines = path.read_text().splitlines()
    texts = [line[:-1] + ("yes" if line.endswith("1") else "no") for line in lines]
    path.write_text("\n".join([head, *texts]) + "\n")
    ones = sum(line.endswith("yes") for line in texts)
    asked = flat(run("job", "check", bank.file).stdout)
    assert "labels are 'no', 'yes': data.positive = \"yes\" would let this one count as 1" in asked
    bank.edit('label = "y"', 'label = "y"\npositive = "ja"')
    assert "labels are 'no', 'yes'" in flat(run("job", "check", bank.file).stdout)
    bank.edit('"ja"', '"yes"')
    assert f"ok label 0: {36 - ones} rows, 1: {ones} rows" in flat(run("job", "check", bank.file).stdout)


def test_status_of_a_job_that_never_ran_that_stopped_and_that_runs(bank: Firm) -> None:
    assert "not started" in run("party", "status", bank.file).stdout
    store = Home(load_job(bank.file)).open_store()
    (bank.run / "progress.json").write_text(json.dumps({"phase": "training", "detail": "tree 3/9"}))
    running = run("party", "status", bank.file).stdout
    assert "running" in running
    assert "training: tree 3/9" in running
    store.close()
    stopped = run("party", "status", bank.file).stdout
    assert "stopped" in stopped
    assert "hecore party run" in stopped


def test_status_tells_of_a_peer_what_is_true_then(bank: Firm) -> None:
    job = load_job(bank.file)
    peer = {"connected": False, "met": True, "away": 75.0, "sent": 1234, "received": 5}
    peer |= {"waiting": 0, "round_trip": None}
    line = {"phase": "training", "peers": {"shop": peer}}
    store = Home(job).open_store()
    (bank.run / "progress.json").write_text(json.dumps(line))
    sent = "1,234 bytes sent, 5 received by the last process"
    now = sent.replace("the last", "this")
    assert f"shop away for 0:01:15, {now}" in flat(run("party", "status", bank.file).stdout)
    peer["away"] = 0.0
    for connected, told in ((True, "done 4%, 0:02:03 left shop connected"), (False, "done 4% shop away")):
        peer["connected"] = connected
        forecast = line | {"done": 0.04, "remaining": 123.0, "peers": {"shop": peer}}
        (bank.run / "progress.json").write_text(json.dumps(forecast))
        assert told in flat(run("party", "status", bank.file).stdout)
    peer["away"] = 75.0
    (bank.run / "progress.json").write_text(json.dumps(line))
    store.close()
    assert f"shop was met, {sent}" in flat(run("party", "status", bank.file).stdout)
    with open_records(job) as folder:
        folder.finish("finished")
    Home(job).remove()
    told = flat(run("party", "status", bank.file).stdout)
    assert f"status finished phase training shop was met, {sent}" in told
    assert "away" not in told
    peer["met"] = False
    (bank.run / "progress.json").write_text(json.dumps(line))
    assert f"shop never came, {sent}" in flat(run("party", "status", bank.file).stdout)


def test_the_report_and_the_status_agree_on_a_process_that_was_killed(bank: Firm) -> None:
    """It could not say so in its record, which still has it running."""
    store = Home(load_job(bank.file)).open_store()
    open_records(load_job(bank.file)).close()
    shown = {}
    for state in ("running", "stopped"):
        assert run("report", bank.run).exit_code == 0
        shown[state] = (bank.run / "report.html").read_text()
        assert f'class="status {state}">{state}<' in shown[state]
        assert f"status {state}" in flat(run("party", "status", bank.file).stdout)
        store.close()
    assert read_record(bank.run).status == "running"


def test_a_party_that_nobody_meets_ends_with_code_3(bank: Firm) -> None:
    bank.edit("wait = 100.0", "wait = 0.3")
    ended = run("party", "run", bank.file)
    assert ended.exit_code == 3
    assert "shop has not connected to bank" in ended.stderr
    assert "again to go on" in ended.stderr
    assert '"waiting for the other parties"' in (bank.run / "log.jsonl").read_text()


def test_who_begins_anew_and_who_has_finished_hear_that_the_other_must_do_so_too(bank: Firm) -> None:
    bank.edit("wait = 100.0", "wait = 0.3")
    with open_records(load_job(bank.file)) as folder:
        folder.update(model="model.json")
        folder.finish("finished")
    finished = run("party", "run", bank.file)
    assert finished.exit_code == 0
    assert "nothing was done" in finished.stdout
    assert (
        "to begin it anew, or if another party has done so and waits, start here with --anew"
        in finished.stdout
    )
    ended = run("party", "run", bank.file, "--anew")
    assert ended.exit_code == 3
    assert "bank begins anew, and shop must be started with --anew as well" in ended.stderr
    [kept] = bank.run.parent.glob("credit.*")
    assert read_record(kept).status == "finished"
    assert '"waiting for the other parties"' in (bank.run / "log.jsonl").read_text()


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        ("", "start `run` again to go on"),
        ("PeerLost: shop closed the channel", "start `run` again to go on"),
        ("TableError: no column", "when that is mended, start `run` again to go on"),
        ("HandshakeError: shop works on job 'a'", "when that is mended, start `run` again to go on"),
        (
            f"HandshakeError: bank has begun anew: {ANEW}",
            "all parties must begin anew: start `run --anew` here",
        ),
        ("CheckpointError: messages are gone", "all parties must begin anew: start `run --anew` here"),
    ],
)
def test_the_next_step_is_one_that_can_work(error: str, wanted: str) -> None:
    assert next_step("run", error).startswith(wanted)


def test_data_of_a_job_under_way_are_mended_by_beginning_anew() -> None:
    step = next_step("run", "TableError: class 2 has no rows", begun=True)
    assert "mend them, and start all parties with --anew, here `run --anew`; or, where" in step
    put_back = "TableError: a.csv has changed: put it back, or begin anew (run --anew)"
    assert next_step("run", put_back, begun=True) == "when that is mended, start `run` again to go on"
    setting = next_step("run", "ConfigurationError: gradient_bits", begun=True)
    assert setting.endswith("where that changes what was agreed, all parties start with --anew")


@pytest.mark.parametrize("anew", [[], ["--anew"]])
def test_a_second_process_hears_that_the_job_runs_already(bank: Firm, anew: list[str]) -> None:
    store = Home(load_job(bank.file)).open_store()
    ended = run("party", "run", bank.file, *anew)
    store.close()
    assert ended.exit_code == 5
    assert flat(ended.stderr) == f"error: another process runs the job in {bank.run}"


def test_an_address_is_asked_for_where_there_is_none(tmp_path: Path) -> None:
    line = ["--job", "j", "--name", "a", "--role", "passive", "--peer", "b", "--data", "a.csv"]
    ended = run("job", "init", tmp_path / "job.toml", *line)
    assert ended.exit_code == 1
    assert "--listen or --dial is missing" in ended.stderr


def test_a_job_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    for command in ("run", "status"):
        ended = run("party", command, tmp_path / "no.toml")
        assert ended.exit_code == 1
        assert flat(ended.stderr) == f"error: {tmp_path}/no.toml: No such file or directory"


def test_a_run_that_failed_says_so_and_its_record_has_the_mended_settings(bank: Firm) -> None:
    bank.edit("people.csv", "nowhere.csv")
    assert run("party", "run", bank.file).exit_code == 1
    told = run("party", "status", bank.file).stdout
    assert "status failed" in flat(told)
    assert "nowhere.csv" in "".join(told.split())  # a long path is broken where the line ends
    bank.edit("nowhere.csv", "people.csv")
    bank.edit("max_depth = 2", "max_depth = 3")
    bank.edit("wait = 100.0", "wait = 0.2")
    assert run("party", "run", bank.file).exit_code == 3
    record = read_record(bank.run)
    assert record.configuration["algorithm"]["max_depth"] == 3
    assert record.configuration["data"]["file"] == "people.csv"


def test_what_must_be_mended_ends_with_code_1_and_one_line(bank: Firm) -> None:
    bank.edit("max_depth = 2", "max_depth = -2")
    ended = run("party", "run", bank.file)
    assert ended.exit_code == 1
    assert "max_depth = -2 is not in 0 … 62" in ended.stderr
    assert "Traceback" not in ended.output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError(""), 1),
        (TableError(""), 1),
        (AlignmentError(""), 1),
        (HandshakeError(""), 1),
        (CheckpointError(""), 1),
        (FileNotFoundError(""), 1),
        (OSError(errno.ENOSPC, "full"), 4),
        (PeerLost(""), 3),
        (PeerAborted("shop", "why"), 3),
        (ChannelTimeout(""), 3),
        (StoreError(""), 4),
        (StoreInUse(""), 5),
        (Fenced("bank", 1, 2), 5),
    ],
)
def test_exit_codes(error: Exception, code: int) -> None:
    assert exit_code(error) == code
    step = next_step("run", f"{type(error).__name__}: {error}")
    assert step.startswith("start `run` again") == (code != 1)


def test_logs_are_json_lines_and_warnings_are_shown(tmp_path: Path) -> None:
    shown: list[str] = []
    log = logging.getLogger("hecore.algorithms.job")
    with log_to(tmp_path / "run", "text", shown.append):
        log.info("tree 1")
        log.warning("%s is away", "shöp")
    log.warning("afterwards")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(line["level"], line["text"]) for line in lines] == [
        ("info", "tree 1"),
        ("warning", "shöp is away"),
    ]
    assert shown == ["shöp is away"]
