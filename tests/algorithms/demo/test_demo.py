"""`hecore demo` as a person sees it: real processes, their results, and their ends."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hecore.algorithms.demo.parties import Parties
from hecore.algorithms.demo.party import run_party
from hecore.algorithms.demo.results import Failure
from hecore.algorithms.demo.settings import MINIMUM_ROWS, DemoSettings, load_data
from hecore.algorithms.errors import ConfigurationError, ProtocolError
from hecore.algorithms.lr.steps import split_rows
from hecore.algorithms.party import ACTIVE, PASSIVE

from ..command import COLOUR, CONTROL, children, left_over, lines_until, on_terminal, piped, started

ROWS, TRAIN, BATCHES = 460, 368, 3
#: One backend everywhere: the same pace, and nothing to compile first.
DEMO = ("demo", "--algorithm", "lr", "--rows", str(ROWS), "--backend", "gmp")
SMALL = (*DEMO, "--epochs", "1")
#: Longer than any test waits for it; the first line of progress comes after a tenth.
LONG = (*DEMO, "--epochs", "4")
PROMPT = 15  # seconds within which a command must have ended, on a busy machine too


# --- a run that goes well --------------------------------------------------------------------------------


@dataclass
class Run:
    out: str
    err: str
    plot: Path

    def row(self, name: str) -> list[str]:
        """The numbers of a table's row."""
        (line,) = [line for line in self.out.splitlines() if line.startswith(f"│ {name} ")]
        return [cell.strip() for cell in line.strip("│").split("│")][1:]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    plot = tmp_path_factory.mktemp("demo") / "run.png"
    done = piped(*SMALL, "--plot", plot, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    return Run(done.stdout, done.stderr, plot)


def clear_scores(columns: slice) -> list[str]:
    """AUC and accuracy of scikit-learn's model on the same rows, as the table prints them."""
    data = load_data(ROWS)
    assert data.active.label is not None
    values = np.column_stack([data.active.values, data.passive.values])[:, columns]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(values[data.train], data.active.label[data.train])
    scores, truth = model.predict_proba(values[data.test])[:, 1], data.active.label[data.test]
    return [f"{roc_auc_score(truth, scores):.4f}", f"{accuracy_score(truth, scores > 0.5):.4f}"]


def test_the_joint_model_is_nearly_as_good_as_the_one_in_the_clear(finished):
    assert "held-out rows (92 of 460)" in finished.out
    auc, accuracy = map(float, finished.row("joint, nobody shows data (hecore)"))
    together = clear_scores(slice(None))
    assert finished.row("all columns in one place (scikit-learn)") == together
    assert finished.row("active party alone (scikit-learn)") == clear_scores(slice(10))
    assert abs(auc - float(together[0])) < 0.03
    assert abs(accuracy - float(together[1])) < 0.1


def test_the_table_counts_what_the_protocol_does(finished):
    """Ten columns and the intercept here, twenty there; forward and backward over all rows."""
    assert finished.row("matrix entries × ciphertexts")[1] == f"{2 * TRAIN * 20:,}"
    assert finished.row("matrix entries × ciphertexts")[0] == f"{2 * TRAIN * 11 + TRAIN:,}"  # and the loss
    # Residuals, and in each batch the shares of the other's weights; the passive party's scores are few.
    assert finished.row("values encrypted")[0] == f"{TRAIN + BATCHES * 20:,}"
    seconds = [float(cell) for cell in finished.row("encrypting shares, seconds")]
    assert all(0 < value < 60 for value in seconds)
    # Two hellos, four a batch, the final share; terms, query and loss here; loss share and scores there.
    assert finished.row("messages sent") == [str(2 + 4 * BATCHES + 1 + more) for more in (3, 2)]
    for cell in finished.row("sent"):
        size, unit = cell.split()
        assert unit == "kB"
        assert 512 * (TRAIN + BATCHES * 11) / 1000 < float(size) < 400


def test_trees_by_default(tmp_path):
    """A small forest: what is shown is of trees, and nearly as good as scikit-learn's."""
    plot = tmp_path / "trees.png"
    done = piped("demo", "--trees", "3", "--rows", str(ROWS), "--plot", plot, COLUMNS="100")
    assert done.returncode == 0, done.stderr
    run = Run(done.stdout, done.stderr, plot)
    assert "joint training, tree 3/3" in run.err
    auc = [
        float(run.row(name)[0])
        for name in ("joint, nobody shows data (hecore)", "all columns in one place (scikit-learn)")
    ]
    assert abs(auc[0] - auc[1]) < 0.02
    assert run.row("rows of (g, h) encrypted") == [f"{3 * TRAIN:,}", "0"]
    assert run.row("rows × columns summed up")[0] == "0"
    assert re.search(r"training loss 0\.\d{4} in the first tree", " ".join(run.out.split()))
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_summary(finished):
    text = " ".join(finished.out.split())
    assert re.search(r"backend gmp; keys made in \d+\.\d s", text)
    assert re.search(r"training loss (0\.[56]\d{3}) in the first epoch, \1 in the last\.", text)
    assert finished.out.endswith(f"plot written to {finished.plot}\n")


def test_the_plot_is_an_image(finished):
    data = finished.plot.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(data) > 20_000
    pixels = imread(finished.plot)
    assert pixels.shape[:2] == (546, 1300)
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50


def test_piped_output_is_plain_text_of_80_columns(finished):
    *tables, last = finished.out.splitlines()
    assert max(map(len, tables)) <= 80
    assert last.startswith("plot written")
    assert not CONTROL.search(finished.out)
    assert not CONTROL.search(finished.err)


def test_piped_progress_is_a_few_lines_on_stderr(finished):
    assert finished.err.splitlines() == [
        "two processes make their 2048-bit keys",
        "joint training",
        *finished.err.splitlines()[2:4],
        "joint training, epoch 1/1, 100%",
        "training in the clear, to compare",
    ]
    for line, share in zip(finished.err.splitlines()[2:4], (33, 67), strict=True):
        assert re.fullmatch(rf"joint training, epoch 1/1, {share}%, left \d:\d\d:\d\d", line)


def test_on_a_terminal_a_line_for_each_stage(tmp_path):
    """As `hecore demo > results`: progress on the terminal, results in the file."""
    with (
        open(tmp_path / "results", "w+", encoding="utf-8") as results,
        on_terminal(*SMALL, columns=80, stdout=results) as terminal,
    ):
        assert terminal.end() == 0
        results.seek(0)
        assert "held-out rows" in results.readline()
        assert not CONTROL.search(results.read())
    frames = terminal.frames()
    assert max(map(len, frames)) <= 80
    assert not any("…" in frame for frame in frames)
    midway = [frame for frame in frames if "joint training, epoch 1/1" in frame and "left" in frame]
    assert midway
    for frame in midway:
        assert re.search(r" (33|67)% \d:\d\d:\d\d left \d:\d\d:\d\d$", frame), frame
    stages = ["two processes make", "joint training, epoch 1/1", "training in the clear"]
    for stage, frame in zip(stages, frames[-3:], strict=True):
        assert frame.strip().startswith(stage)
        assert re.search(r"\d:\d\d:\d\d$", frame)
    assert COLOUR.search(terminal.written.decode())


# --- a run that ends early -------------------------------------------------------------------------------


def ended(command: subprocess.Popen[str], pids: list[int]) -> list[str]:
    """The lines that a command says while it ends: soon, in order, and leaving none of `pids` behind."""
    assert len(pids) >= 2
    out, err = command.communicate(timeout=PROMPT)
    assert left_over(pids) == []
    assert "Traceback" not in err
    assert not CONTROL.search(err)
    assert out == ""
    return err.splitlines()


def parties(pids: list[int]) -> list[int]:
    """The active and the passive one: what else was started is Python's own."""
    found = [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(found) == 2
    return found


@pytest.mark.parametrize("role", [ACTIVE, pytest.param(PASSIVE, marks=pytest.mark.slow)])
def test_a_party_killed_in_mid_run_is_named_within_seconds(role):
    with started(*LONG) as command:
        lines_until(command.stderr, "joint training, epoch")
        pids = children(command.pid)
        os.kill(parties(pids)[role == PASSIVE], signal.SIGKILL)
        lines = ended(command, pids)
    assert command.returncode == 1
    assert lines[-1] == f"error: the {role} party failed: its process was ended by signal 9 (Killed)"


@pytest.mark.parametrize("stage", ["two processes make", "joint training, epoch"])
def test_control_c_stops_everything(stage):
    with started(*LONG) as command:
        lines_until(command.stderr, stage)
        pids = children(command.pid)
        os.killpg(command.pid, signal.SIGINT)
        lines = ended(command, pids)
    assert command.returncode == 130
    assert lines[-1] == "interrupted"


def test_a_killed_command_leaves_no_party_behind():
    with started(*LONG) as command:
        lines_until(command.stderr, "two processes make")
        pids = children(command.pid)
        for party in parties(pids):  # SIGINT is for the command alone: a party would print a traceback
            os.kill(party, signal.SIGINT)
        lines_until(command.stderr, "joint training, epoch")
        active, passive = parties(pids)
        os.kill(passive, signal.SIGSTOP)  # so that the active one hears nothing, and waits
        command.kill()
        assert left_over([active]) == []
        os.kill(passive, signal.SIGCONT)
        lines = ended(command, pids)
    assert command.returncode == -signal.SIGKILL
    assert not any("rror" in line for line in lines)


# --- inside ----------------------------------------------------------------------------------------------


def test_the_data_is_split_by_columns_and_the_rows_match():
    data = load_data(None)
    assert (len(data.active), len(data.passive)) == (569, 569)
    assert (len(data.active.columns), len(data.passive.columns)) == (10, 20)
    assert not set(data.active.columns) & set(data.passive.columns)
    assert data.active.alignment() == data.passive.alignment()
    assert data.passive.label is None
    assert data.active.label is not None
    assert sorted([*data.train, *data.test]) == list(range(569))
    assert len(data.test) == 114


def test_a_part_of_the_rows_is_the_same_for_everybody_and_keeps_the_balance():
    data, again = load_data(ROWS), load_data(ROWS)
    assert data.active.alignment() == again.passive.alignment()
    assert np.array_equal(data.train, again.train)
    whole = load_data(None).active.label
    assert whole is not None
    for rows in (data.train, data.test):
        assert data.active.label is not None
        assert abs(data.active.label[rows].mean() - whole.mean()) < 0.03


@pytest.mark.parametrize("rows", [0, 449, 570])
def test_too_few_or_too_many_rows(rows):
    with pytest.raises(ConfigurationError, match=f"rows = {rows} is not in 450 … 569"):
        load_data(rows)


def test_the_fewest_rows_are_those_that_the_training_takes():
    """A number that is let in here must not be refused after both processes have made their keys."""
    data, config = load_data(MINIMUM_ROWS), DemoSettings().config()
    assert len(data.train) == config.least_rows(len(data.passive.columns))
    split_rows(len(data.train), len(data.active.columns) + 1, len(data.passive.columns), config)


@pytest.fixture
def stand_ins():
    """Parties whose processes are not there: what their ends of the pipes are given is what they report."""
    parties = Parties(DemoSettings())
    ends = {}
    for role in (ACTIVE, PASSIVE):
        parties._pipes[role], ends[role] = multiprocessing.Pipe()
        parties._processes[role] = SimpleNamespace(exitcode=0, join=lambda timeout=None: None)
    yield parties, ends
    for pipe in [*parties._pipes.values(), *ends.values()]:
        pipe.close()


def test_the_cause_is_told_and_not_its_echo(stand_ins):
    """The party that lost its peer is often the first to say so."""
    parties, ends = stand_ins
    ends[ACTIVE].send(("error", Failure("PeerAborted: passive aborted: 'TableError'", secondary=True)))
    later = threading.Timer(0.2, ends[PASSIVE].send, [("error", Failure("TableError: row 17 is bad"))])
    ends[PASSIVE].send(("progress", None))
    later.start()
    with pytest.raises(ProtocolError, match=r"^the passive party failed: TableError: row 17 is bad$"):
        parties.collect(lambda progress: None)
    later.join()


def test_an_echo_without_a_cause_is_told_all_the_same(stand_ins):
    parties, ends = stand_ins
    ends[PASSIVE].send(("error", Failure("PeerLost: active closed the channel", secondary=True)))
    ends[ACTIVE].close()  # after its result, with exit code 0
    with pytest.raises(ProtocolError, match=r"^the passive party failed: PeerLost: active closed"):
        parties._receive(PASSIVE, "ready")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-11, r"was ended by signal 11 \(Segmentation fault\)"),
        (3, "ended with exit code 3"),
        (None, "does not end"),
    ],
)
def test_a_process_that_reports_no_more_is_described(stand_ins, code, text):
    parties, ends = stand_ins
    parties._processes[PASSIVE].exitcode = code
    ends[PASSIVE].close()
    with pytest.raises(ProtocolError, match=f"^the passive party failed: its process .*{text}"):
        parties._receive(PASSIVE, "key")


def test_a_report_out_of_turn_is_an_error(stand_ins):
    parties, ends = stand_ins
    ends[ACTIVE].send(("endpoint", "tcp://127.0.0.1:1"))
    with pytest.raises(ProtocolError, match="the active process reported 'endpoint' instead of 'key'"):
        parties.introduce()


def test_a_party_that_died_before_its_peers_key_came_is_named(stand_ins):
    parties, ends = stand_ins
    ends[ACTIVE].send(("key", "a" * 40))
    ends[PASSIVE].send(("key", "b" * 40))
    ends[ACTIVE].close()
    parties._processes[ACTIVE].exitcode = -9
    with pytest.raises(ProtocolError, match="the active party failed: its process was ended by signal 9"):
        parties.introduce()


def test_a_party_reports_what_it_raises(tmp_path):
    """Here in a thread: a key that is too short is refused inside of the process as well."""
    mine, theirs = multiprocessing.Pipe()
    settings = DemoSettings(key_bits=1024, folder=str(tmp_path))
    party = threading.Thread(target=run_party, args=(PASSIVE, settings, theirs))
    party.start()
    kind, failure = mine.recv()
    party.join(10)
    assert kind == "error"
    assert failure.text.startswith("InsecureKey: a modulus of 1024 bits")
    assert not failure.secondary
    with pytest.raises(EOFError):
        mine.recv()
    mine.close()
