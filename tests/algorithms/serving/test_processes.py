"""The commands as people run them: real processes, kill −9, signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from hecore.algorithms.cli import app
from hecore.algorithms.serving.callers import Callers

from ..command import environment
from ..patience import until
from .conftest import Folders, Model, Response, request

IDS = [f"id{row}" for row in range(8)]
COMMAND = [sys.executable, "-m", "hecore.algorithms.cli"]


@pytest.fixture
def folders(model: Model, second_model: Model, tmp_path: Path) -> Folders:
    active = "[http]\nport = 0\n[scores]\nprobability_step = 0\n"
    return Folders.make(tmp_path, [model, second_model], active=active)


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A `hecore` command in a party's folder."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_with(process: subprocess.Popen[str], wanted: str) -> str:
    """The next line that holds `wanted`."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if wanted in line:
            return line
    raise AssertionError(f"{wanted!r} never came: {seen}")


def test_serve(model: Model, second_model: Model, folders: Folders) -> None:
    """Scores; the passive party killed under load and back; reload; a graceful end."""
    tokens = folders.callers()
    bank, shop = folders.root / "bank", folders.root / "shop"
    results: list[tuple[float, float, Response]] = []  # asked, answered
    stop = threading.Event()
    with started(bank, "serve", "shares/0") as active:
        with started(shop, "serve", "shares") as passive:
            port = int(re.findall(r":(\d+)/docs", line_with(active, "serves at"))[0])
            body = json.dumps({"ids": IDS}).encode()

            def predict(**more: Any) -> Response:
                data = json.dumps({"ids": IDS} | more).encode() if more else body
                return request(port, "POST", "/predict", tokens["front"], data)

            until(lambda: predict().status_code == 200)

            def load() -> None:
                while not stop.is_set():
                    asked, answer = time.monotonic(), predict()
                    results.append((asked, time.monotonic(), answer))

            thread = threading.Thread(target=load)
            thread.start()
            until(lambda: len(results) > 3)
            killed = time.monotonic()
            passive.send_signal(signal.SIGKILL)
            passive.wait()
            until(lambda: results[-1][2].status_code == 503)
        with started(shop, "serve", "shares") as passive:
            line_with(passive, "serves its part")
            returned = time.monotonic()
            until(lambda: results[-1][0] > returned and results[-1][2].status_code == 200, 20)
            stop.set()
            thread.join()
            # Another model, without a restart.
            (bank / "shares" / "0").write_bytes((bank / "shares" / "1").read_bytes())
            active.send_signal(signal.SIGHUP)
            until(lambda: predict().json().get("model") == "cd" * 16)
            got = [row["score"] for row in predict().json()["scores"]]
            np.testing.assert_allclose(got, second_model.scores[:8], rtol=0, atol=1e-12)
            for process in (active, passive):
                process.send_signal(signal.SIGTERM)
            assert line_with(active, "bank ends") == "bank ends\n"
            assert re.match(r"shop ends; [\d,]+ rows answered\n", line_with(passive, "shop ends"))
            assert (active.wait(60), passive.wait(60)) == (0, 0)
    answers = {response.status_code for *_, response in results}
    assert answers == {200, 503}
    for _, answered, response in results:
        if response.status_code == 200:
            scores = [row["score"] for row in response.json()["scores"]]
            np.testing.assert_allclose(scores, model.scores[:8], rtol=0, atol=1e-12)
        else:
            assert answered > killed
            assert response.json()["error"]["code"] == "peer_down"


def test_predict_killed_and_started_again(model: Model, folders: Folders) -> None:
    bank, shop = folders.root / "bank", folders.root / "shop"
    ids = [f"id{row}" for row in range(300)]
    (bank / "ids.csv").write_text("id\n" + "\n".join(ids) + "\n")
    command = ["predict", "shares/0", "--ids", "ids.csv", "--out", "out.parquet"]
    with started(shop, "predict", "shares/0") as passive:
        line_with(passive, "answers for one file of ids")
        small = "import hecore.algorithms.serving.files as f; f.CHUNK = 4;"
        slow = "import time; old = f.FileScoring._write;"
        slow += "f.FileScoring._write = lambda *a: (old(*a), time.sleep(0.05));"
        run = "from hecore.algorithms.cli import app; app()"
        broken = subprocess.Popen(
            [sys.executable, "-c", small + slow + run, *command],
            cwd=bank, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(),
        )  # fmt: skip
        parts = bank / "out.parquet.parts"
        until(lambda: parts.exists() and len(list(parts.glob("*.parquet"))) >= 3)
        os.kill(broken.pid, signal.SIGKILL)
        broken.communicate()
        done = subprocess.run(
            [sys.executable, "-c", small + run, *command],
            cwd=bank, capture_output=True, text=True, timeout=200, env=environment(), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "is away: it ends" not in done.stderr  # as it should
        assert re.search(r"300 rows written to out\.parquet, \d+ of them by an earlier run", done.stdout)
        assert passive.wait(60) == 0
    table = pq.read_table(bank / "out.parquet")
    assert table["id"].to_pylist() == ids
    np.testing.assert_allclose(table["score"].to_numpy(), model.scores, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "nothing"], "does not exist"),
        (["serve", "shares/0"], "tokens.toml is not there: `hecore token NAME"),
        (["serve", "shares/0", "--config", "other.toml"], "other.toml"),
        (["predict", "shares/0"], "--out FILE.parquet or FILE.csv is needed"),
        (["predict", "shares/0", "--out", "data.parquet"], "data.parquet exists"),
        (
            ["predict", "shares/0", "--out", "scores.xlsx"],
            "scores.xlsx: a table is written as .parquet or .csv",
        ),
        (["predict", "shares/0", "--out", "none/scores.csv"], "none is no folder"),
    ],
)
def test_mistakes_are_named(
    folders: Folders, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders.root / "bank")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code != 0
    assert said in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "id\nid7\nid8\nid7\nid8\n",
            "ids.csv: id 'id7' stands at line 2 and again at line 4, and an id repeats in 1 more row",
        ),
        ("id,x\nid7,1\n,2\n", "ids.csv, line 3: the id is empty"),
        (
            "customer\nid7\n",
            "ids.csv has no column 'id'; it has 'customer'; data.id of the settings says which",
        ),
    ],
)
def test_what_is_wrong_with_a_file_of_ids_is_told_with_its_place(
    folders: Folders, lines: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders.root / "bank")
    Path("ids.csv").write_text(lines)
    result = CliRunner().invoke(app, ["predict", "shares/0", "--ids", "ids.csv", "--out", "scores.csv"])
    assert result.exit_code == 1
    assert said in " ".join(result.output.split())


def test_a_token_says_where_it_is_kept_and_whether_it_takes_the_place_of_one(tmp_path: Path) -> None:
    file = tmp_path / "callers.toml"
    first, again, other = (
        CliRunner().invoke(app, ["token", name, "--file", str(file)]).output.splitlines()
        for name in ("web", "web", "app")
    )
    assert first[0] == f"{file}: web has a new token"
    assert again[0] == f"{first[0]} in place of the one that it had, which ends with the next reload (SIGHUP)"
    assert other[0] == f"{file}: app has a new token"
    tokens = [lines[1].rpartition(" ")[2] for lines in (first, again, other)]
    assert [Callers.load(file).find(token) for token in tokens] == [None, "web", "app"]


def test_a_passive_party_takes_no_ids(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders.root / "shop")
    result = CliRunner().invoke(app, ["predict", "shares/0", "--out", "scores.csv"])
    assert result.exit_code == 1
    assert "a passive one gets no scores" in " ".join(result.output.split())
