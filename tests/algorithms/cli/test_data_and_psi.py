"""`hecore data show`, and `hecore psi` as two real processes over ZeroMQ."""

from __future__ import annotations

import signal
import stat
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from hecore.algorithms import cli
from hecore.algorithms.channel import CurveKeys
from hecore.algorithms.free_port import free_port

from ..command import CONTROL, on_terminal, piped, started
from ..patience import until


def run(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli.app, [str(a) for a in arguments])


def refused(result: Result) -> str:
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    return line.removeprefix("error: ")


@pytest.fixture
def people(tmp_path: Path) -> tuple[Path, Path]:
    """Two files with 150 people in common, in other orders."""
    active = ["id,y,age,town"] + [
        f"c{i:03},{i % 2},{20 + i % 50},{['Ulm', 'Bonn'][i % 2]}" for i in range(200)
    ]
    passive = ["id,visits"] + [f"c{i:03},{i}" for i in reversed(range(50, 260))]
    paths = tmp_path / "active.csv", tmp_path / "passive.csv"
    for path, rows in zip(paths, (active, passive), strict=True):
        path.write_text("\n".join(rows) + "\n")
    return paths


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with both parties' keys."""
    for party in ("active", "passive"):
        assert run("party", "keygen", "--out", tmp_path / f"{party}.keys").exit_code == 0
    return tmp_path


def psi(folder: Path, party: str, file: Path, port: int, *more: str | Path) -> list[str | Path]:
    """The command line of one side."""
    other = {"active": "passive", "passive": "active"}[party]
    endpoint = f"tcp://127.0.0.1:{port}"
    where = ["--listen", endpoint] if party == "active" else ["--dial", f"{other}={endpoint}"]
    known = f"{other}={folder / other}.keys.pub"
    own = ["--role", party, "--keys", folder / f"{party}.keys"]
    return ["psi", file, *own, "--key", known, *where, *more]


# --- two processes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["active", "passive"])
def test_two_processes_align_their_files_in_any_order(people, keys, first):
    files = dict(zip(("active", "passive"), people, strict=True))
    second = {"active": "passive", "passive": "active"}[first]
    port = free_port()
    out = {party: keys / f"{party}.parquet" for party in files}
    with started(*psi(keys, first, files[first], port, "--out", out[first])) as early:
        late = piped(*psi(keys, second, files[second], port, "--out", out[second]))
        output, errors = early.communicate(timeout=200)
    assert (early.returncode, late.returncode) == (0, 0), errors + late.stderr
    assert "150 of 200 ids are common" in (output + late.stdout)
    assert "150 of 210 ids are common" in (output + late.stdout)
    tables = {party: pq.read_table(path) for party, path in out.items()}
    assert tables["active"].column_names == ["id", "y", "age", "town"]
    ids = tables["active"].column("id").to_pylist()
    assert ids == tables["passive"].column("id").to_pylist() == [f"c{i:03}" for i in range(50, 200)]
    assert tables["active"].column("age").to_pylist() == [str(20 + i % 50) for i in range(50, 200)]
    assert tables["active"].column("town").to_pylist()[:2] == ["Ulm", "Bonn"]
    assert tables["passive"].column("visits").to_pylist() == [str(i) for i in range(50, 200)]


def test_both_processes_say_whose_ids_repeat(people, keys):
    people[1].write_text(people[1].read_text() + "c100,7\n")
    port = free_port()
    with started(*psi(keys, "active", people[0], port, "--out", keys / "out.parquet")) as active:
        passive = piped(*psi(keys, "passive", people[1], port))
        _, errors = active.communicate(timeout=200)
    text = (
        "error: passive: of 211 ids, 1 row repeats an id of an earlier row; ids must be distinct and not"
        " empty\n"
    )
    # A warning of the channel may stand before it: the last words of one crossed the end of the other.
    for code, told in ((active.returncode, errors), (passive.returncode, passive.stderr)):
        assert code == 1
        assert told.endswith(text)
    assert not (keys / "out.parquet").exists()


def stored(folder: Path, party: str) -> list[Path]:
    """The checkpoints of a run that is kept."""
    return sorted((folder / f"{party}.state").glob("checkpoints/*/0/*.json"))


def test_a_run_that_was_stopped_goes_on_and_leaves_nothing(people, keys):
    """What is kept is its owner's alone, serves the same ids only, and is gone when the run is over."""
    port = free_port()
    lines = {
        party: psi(
            keys, party, path, port, "--state", keys / f"{party}.state", "--out", keys / f"{party}.parquet"
        )
        for party, path in zip(("active", "passive"), people, strict=True)
    }
    with started(*lines["active"]) as active:
        until(lambda: stored(keys, "active"))
        active.send_signal(signal.SIGINT)
        _, told = active.communicate(timeout=200)
    assert active.returncode == 130
    kept = keys / "active.state"
    again = f"{kept} keeps this run, and the others wait: start it again to go on"
    assert told.splitlines()[-2:] == [again, "interrupted"]  # a word on who has not come may stand before
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    for path in kept.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    whole = people[0].read_text()
    people[0].write_text(whole.replace("c199,", "c999,"))
    changed = (
        f"{people[0]} has changed since this alignment began: put it back as it was, or begin anew at all"
    )
    assert piped(*lines["active"]).stderr == f"error: {changed} parties (remove {kept})\n"
    people[0].write_text(whole)
    kept.chmod(0o750)
    assert "active.state is open to others (mode 0750): chmod 700 it" in piped(*lines["active"]).stderr
    kept.chmod(0o700)
    with started(*lines["active"]) as active, started(*lines["passive"]) as passive:
        outputs = [process.communicate(timeout=200) for process in (active, passive)]
    assert [active.returncode, passive.returncode] == [0, 0], outputs
    for party in lines:
        ids = pq.read_table(keys / f"{party}.parquet", columns=["id"]).column("id").to_pylist()
        assert ids == [f"c{i:03}" for i in range(50, 200)]
        assert not (keys / f"{party}.state").exists()


# --- refusals before anything is sent --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--reveal", "passive"], "reveal = 'passive'"),
        (["--min-intersection", "0"], "min_intersection = 0"),
        (["--dial", "passive"], "--dial passive: write NAME=VALUE"),
        (["--dial", "passive=tcp://127.0.0.1:1"], "waits for nobody: every party is dialled"),
        (["--dial", "third=tcp://127.0.0.1:1"], "no public key of third: --key third=FILE"),
        (["--listen", "127.0.0.1"], "cannot listen on 127.0.0.1"),
        (["--id", "customer"], "active.csv has no column 'customer'"),
        (["--key", "passive=nowhere.pub"], "--key names passive twice"),
        (["--role", "actve"], "--role actve: active or passive"),
    ],
)
def test_a_wrong_command_line_is_named(people, keys, more, text):
    assert text in refused(run(*psi(keys, "active", people[0], 0, "--wait", "0.01", *more)))


def test_halves_of_key_pairs_that_are_mixed_up_are_told_as_that(people, keys):
    """Whatever the modes of the files are, and without showing a secret."""
    line = psi(keys, "active", people[0], 0, "--wait", "0.01")
    own, its = keys / "active.keys", keys / "passive.keys"
    own_public = [keys / "active.keys.pub" if part == own else part for part in line]
    told = refused(run(*own_public))
    assert told == f"{own}.pub is the public half of a key pair; the secret one is {own}"
    secret = [part.removesuffix(".pub") if str(part).startswith("passive=") else part for part in line]
    told = refused(run(*secret))
    away = f"{its} holds a secret key, which stays with its owner: the half to give away is {its}.pub"
    assert told == away
    assert refused(run("party", "trust", "passive", its, "--list", keys / "list")) == away
    mine = [f"passive={own}.pub" if str(part).startswith("passive=") else part for part in line]
    assert refused(run(*mine)) == f"--key passive={own}.pub is this party's own: passive has another"
    (keys / "passive.keys.pub").write_text("no key")
    assert refused(run(*line)) == f"the content of {its}.pub must be 40 characters of Z85"


def test_somebody_must_be_talked_to(people, keys):
    known = f"passive={keys / 'passive.keys.pub'}"
    line = ["psi", people[0], "--role", "active", "--keys", keys / "active.keys", "--key", known]
    assert "where is passive? --dial passive=" in refused(run(*line))


def test_nothing_is_overwritten(people, keys):
    out = keys / "out.parquet"
    out.write_text("kept")
    assert "exists" in refused(run(*psi(keys, "active", people[0], 0, "--out", out)))
    assert out.read_text() == "kept"
    text = refused(run(*psi(keys, "active", keys / "none.csv", 0, "--out", keys / "out.txt")))
    assert (
        text == f"{keys / 'out.txt'}: a table is written as .parquet or .csv, choose a name with one of them"
    )
    assert "exists" in refused(run("party", "keygen", "--out", keys / "active.keys"))


def test_a_party_that_does_not_come_is_named(people, keys):
    text = refused(run(*psi(keys, "active", people[0], 0, "--wait", "0.05")))
    assert "passive has not connected" in text


def test_a_key_pair_is_for_its_owner_and_its_public_half_for_the_other(keys):
    pair = CurveKeys.load(keys / "active.keys")
    assert (keys / "active.keys.pub").read_text() == pair.public + "\n"
    assert stat.S_IMODE((keys / "active.keys").stat().st_mode) == 0o600


# --- data show -------------------------------------------------------------------------------------------


def test_show_names_kinds_ranges_and_what_is_missing(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("id,y,age,town,zip\na,1,41,Ulm,7\nb,0,,Bonn,8\nc,1,23,,7\n")
    result = run("data", "show", path, "--label", "y", "--categorical", "zip")
    assert result.exit_code == 0
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines()]
    assert "people.csv: 3 rows, 3 features" in result.stdout
    assert ["id", "id", "–", "3", ""] in lines
    assert ["y", "label", "–", "2", "0 … 1"] in lines
    assert ["age", "numeric", "1", "2", "23 … 41"] in lines
    assert ["town", "categorical", "1", "2", "Bonn, Ulm"] in lines
    assert ["zip", "categorical", "–", "2", "7, 8"] in lines


def test_show_names_the_rows_whose_ids_psi_would_refuse(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("id,x\n" + "".join(f"{row_id},1\n" for row_id in ["a", "b", "", "a", "c", "b", "b"]))
    result = run("data", "show", path)
    assert result.exit_code == 0
    assert "1 row without an id: 2 ('')\n" in result.stdout
    assert "3 rows with the id of an earlier row: 3 ('a'), 5 ('b'), 6 ('b')\n" in result.stdout


def test_show_fits_a_terminal_and_prints_names_as_they_are(tmp_path):
    path = tmp_path / "[bold]wide.csv"
    path.write_text("id," + ",".join(f"[red]a column with a long name {i}" for i in range(3)) + "\na,1,2,3\n")
    with on_terminal("data", "show", path, columns=60) as terminal:
        assert terminal.end() == 0
    lines = terminal.frames()
    assert max(map(len, lines)) <= 60
    assert any("[red]a" in line for line in lines)
    assert any("[bold]wide.csv: 1 row, 3 features" in line for line in lines)


def test_show_names_the_cells_that_no_model_takes(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("id,y,age,pay,town\na,yes,41,inf,Ulm\nb,no,4o,3,7\nc,no,7,2,Bonn\n")
    result = run("data", "show", path, "--label", "y")
    assert result.exit_code == 0
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines()]
    assert ["y", "label", "–", "2", "no, yes"] in lines
    assert ["age", "mixed", "–", "3", ""] in lines
    assert ["town", "categorical", "–", "3", "7, Bonn, Ulm"] in lines
    assert result.stdout.splitlines()[-2:] == [
        "to mend: '4o' at line 3 (id 'b'), column 'age' is no number, all others are",
        "to mend: inf at line 2 (id 'a'), column 'pay' is no finite number",
    ]


def test_show_counts_what_a_sparse_file_stores(tmp_path):
    path = tmp_path / "people.libsvm"
    path.write_text("1 1:1 4:2\n0 2:1\n")
    assert run("data", "show", path).stdout == (
        "people.libsvm: 2 rows, 4 sparse columns, 37.50% stored\nlabels 0 … 1\n"
    )


def test_show_refuses_what_it_cannot_read(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("id;y\na;yes\n")
    assert "people.csv has no column 'id'" in refused(run("data", "show", path))
    assert "nowhere.csv: No such file" in refused(run("data", "show", tmp_path / "nowhere.csv"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["psi", "--help"], ["--listen", "--dial", "--key", "--reveal", "--min-intersection", "--state"]),
        (["data", "show", "--help"], ["--id", "--label", "--categorical"]),
    ],
)
def test_help_fits_and_names_every_option(arguments, words):
    done = piped(*arguments, COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert not CONTROL.search(done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 80
    for word in words:
        assert word in done.stdout
