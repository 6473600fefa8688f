"""`hecore-bench serve`: joint serving under load, both parties' real processes on this machine.

Requests come at random moments at a given rate, whether or not earlier ones were answered (an open loop), and
a request's time runs from the moment when it was due. Every score is compared with that of the model as it
was trained. With --kill the passive party's process is killed under load and started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Grid

from hecore.algorithms.channel import AllowList, CurveKeys
from hecore.algorithms.checks import counted
from hecore.algorithms.cli.console import friendly
from hecore.algorithms.data import Table
from hecore.algorithms.free_port import free_port
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.gbdt.central import CentralModel, train_centrally
from hecore.algorithms.gbdt.model import ActiveShare, PassiveShare, save_share
from hecore.algorithms.gbdt.tables import training_rows
from hecore.algorithms.serving.callers import Callers
from hecore.errors import HecoreError

from .command import pair
from .synthetic import make_tables

ACTIVE, PASSIVE = "bank", "shop"
TRAINING_ROWS = 4000
SECONDS_TO_START = 60.0
WARM_UP = 1.0
UNLIMITED = "[limits]\nrows_per_second = 1e9\nburst = 1e9\nper_id_per_day = 1_000_000_000\n"


class BenchError(HecoreError):
    """A process that did not start, or an answer that is wrong."""


@dataclass
class Load:
    """What came of the requests of one run; times in milliseconds, moments in seconds from the start."""

    rows: int
    times: list[float] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    error_moments: list[float] = field(default_factory=list)
    wrong: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Rows scored a second."""
        return len(self.times) * self.rows / self.seconds


@friendly
def serve(
    trees: Annotated[int, typer.Option(min=1, help="Trees of the model.")] = 100,
    depth: Annotated[int, typer.Option(min=1, help="Depth of its trees.")] = 6,
    columns: Annotated[str, typer.Option(help="Columns: active,passive.")] = "10,20",
    rows: Annotated[str, typer.Option(help="Rows of a request; several with commas.")] = "1,10",
    rate: Annotated[str, typer.Option(help="Rows a second, one for each of --rows.")] = "300,2500",
    seconds: Annotated[float, typer.Option(min=1, help="Of each run.")] = 10.0,
    kill: Annotated[
        bool, typer.Option("--kill", help="Also kill the passive party under load, and start it again.")
    ] = False,
) -> None:
    """Joint serving under load: time a request, rows a second, and what a killed party does to it."""
    console = Console()
    own, other = pair(columns)
    loads = read_loads(rows, rate)
    with tempfile.TemporaryDirectory(prefix="hecore-serve-") as folder:
        setting = prepare(Path(folder), trees, depth, (own, other))
        with Parties(setting) as parties:
            grid = Grid(
                title=f"{trees} trees of depth {depth}, {setting.splits} splits, {own} + {other} columns"
            )
            for heading in (
                "rows a request",
                "asked rows/s",
                "scored rows/s",
                "p50 ms",
                "p99 ms",
                "max ms",
                "errors",
                "wrong",
            ):
                grid.add_column(heading, justify="right")
            for size, wanted in loads:
                load = asyncio.run(run_load(parties, size, wanted, seconds))
                p50, p99 = np.percentile(load.times, [50, 99])
                grid.add_row(
                    f"{size}", f"{wanted:,.0f}", f"{load.rate:,.0f}", f"{p50:.1f}", f"{p99:.1f}",
                    f"{max(load.times):.1f}", f"{sum(load.errors.values())}", f"{load.wrong}",
                )  # fmt: skip
            console.print(grid)
            if kill:
                report_kill(console, asyncio.run(run_kill(parties, *loads[-1])))


def read_loads(rows: str, rate: str) -> list[tuple[int, float]]:
    """(rows a request, rows a second) of each run. BadParameter naming the option."""

    def read(text: str, option: str, kind: type) -> list[Any]:
        try:
            values = [kind(word) for word in text.split(",")]
        except ValueError:
            values = []
        if not values or not all(0 < value < math.inf for value in values):
            raise typer.BadParameter(f"{text!r} is no list of positive numbers", param_hint=option)
        return values

    sizes, rates = read(rows, "--rows", int), read(rate, "--rate", float)
    if len(sizes) != len(rates):
        raise typer.BadParameter(
            f"--rows has {counted(len(sizes), 'number')}, --rate has {len(rates)}: give one rate for each",
            param_hint="--rate",
        )
    return list(zip(sizes, rates, strict=True))


# --- the model and the parties' folders -------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """Two parties' folders, a token, and what each id must score."""

    folder: Path
    token: str
    scores: NDArray[np.float64]
    splits: int


def prepare(folder: Path, trees: int, depth: int, columns: tuple[int, int]) -> Setting:
    """A model of the size wanted, trained in one place, its shares in two folders."""
    own, other = make_tables(TRAINING_ROWS, columns, parties=(ACTIVE, PASSIVE), prefix="customer-")
    config = GBDTConfig(n_estimators=trees, max_depth=depth, max_bin=64, learning_rate=0.1, reg_lambda=1.0)
    model = train_centrally(config, [(ACTIVE, own), (PASSIVE, other)], training_rows([own], None))
    keys = {name: CurveKeys.generate() for name in (ACTIVE, PASSIVE)}
    for table, peer in ((own, PASSIVE), (other, ACTIVE)):
        place = folder / table.name
        place.mkdir()
        keys[table.name].save(place / "keys")
        AllowList({peer: keys[peer].public}).save(place / "allowed.toml")
        write_table(place / "data.parquet", table)
    save_shares(folder, config, model, own, other)
    port = free_port()
    active = f'[party]\nkeys = "keys"\n[peers.{PASSIVE}]\ndial = "tcp://127.0.0.1:{port}"\n[http]\nport = 0\n'
    (folder / ACTIVE / "serve.toml").write_text(active + "[scores]\nprobability_step = 0\n" + UNLIMITED)
    passive = f'[party]\nkeys = "keys"\nlisten = "tcp://127.0.0.1:{port}"\n[peers.{ACTIVE}]\n'
    (folder / PASSIVE / "serve.toml").write_text(passive + UNLIMITED)
    callers = Callers({})
    token = callers.add("load")
    callers.save(folder / ACTIVE / "tokens.toml")
    scores = model.predict([own, other])
    return Setting(folder, token, scores, sum(len(part) for part in model.splits))


def save_shares(folder: Path, config: GBDTConfig, model: CentralModel, own: Table, other: Table) -> None:
    """The shares that a joint training of the same model would have left."""
    name = "0" * 32
    active = ActiveShare(
        model=name,
        party=ACTIVE,
        config=config,
        columns=own.columns,
        bins=model.bins[0],
        splits=model.splits[0],
        peers=(PASSIVE,),
        objective=model.objective.name,
        outputs=model.objective.outputs,
        start=model.objective.start,
        metric_name=model.objective.metric_name,
        metrics=model.metrics,
        forest=model.forest,
    )
    save_share(active, folder / ACTIVE / "share")
    passive = PassiveShare(
        model=name,
        party=PASSIVE,
        config=config,
        columns=other.columns,
        bins=model.bins[1],
        splits=model.splits[1],
    )
    save_share(passive, folder / PASSIVE / "share")


def write_table(path: Path, table: Table) -> None:
    """Ids and features as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: table.values[:, place] for place, name in enumerate(table.columns)}
    pq.write_table(pa.table({"id": list(table.ids), **columns}), path)


class Parties:
    """Both processes, while it is entered."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.port = 0
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Parties:
        try:
            self.start(PASSIVE)
            self.port = int(self.start(ACTIVE).rpartition("/docs")[0].rpartition(":")[2])
            asyncio.run(self._until_healthy())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.communicate()  # closes its pipe

    def start(self, name: str) -> str:
        """Start a party, and return the line in which it says that it serves."""
        place = self.setting.folder / name
        command = [sys.executable, "-m", "hecore.algorithms.cli", "serve", "share", "--data", "data.parquet"]
        process = subprocess.Popen(  # noqa: S603 - this interpreter, on a fixed command
            command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._processes[name] = process
        line = process.stdout.readline() if process.stdout else ""
        if "serves" not in line:
            raise BenchError(f"{name} did not start: {line}")
        return line

    def kill(self, name: str) -> None:
        """kill −9."""
        process = self._processes[name]
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()

    async def _until_healthy(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        async with Connection(self) as connection:
            while (await connection.get("/healthz"))[0] != 200:
                if time.monotonic() > deadline:
                    raise BenchError("the parties did not find each other")
                await asyncio.sleep(0.1)


# --- load ---------------------------------------------------------------------------------------------


class Connection:
    """One HTTP connection that is kept; a client as thin as can be, since it runs on the same processors."""

    def __init__(self, parties: Parties) -> None:
        self._port, self._token = parties.port, parties.setting.token

    async def __aenter__(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def predict(self, ids: list[str]) -> tuple[int, Any]:
        """Status and body."""
        body = json.dumps({"ids": ids}).encode()
        return await self._ask(b"POST /predict", body)

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and body."""
        return await self._ask(b"GET " + path.encode(), b"")

    async def _ask(self, what: bytes, body: bytes) -> tuple[int, Any]:
        head = what + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + self._token.encode()
        self._writer.write(head + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lines = answer.split(b"\r\n")
        length = next(
            int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length")
        )
        return int(lines[0].split()[1]), json.loads(await self._reader.readexactly(length))


async def run_load(
    parties: Parties, size: int, rate: float, seconds: float, warm_up: float = WARM_UP
) -> Load:
    """Requests of `size` rows at random moments, `rate` rows a second."""
    rng = np.random.default_rng(1)
    load = Load(size)
    idle: list[Connection] = []
    tasks: set[asyncio.Task[None]] = set()
    scores = parties.setting.scores
    began = time.monotonic()
    due = began
    async with contextlib.AsyncExitStack() as stack:
        while due - began < warm_up + seconds:
            due += rng.exponential(size / rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            connection = idle.pop() if idle else await stack.enter_async_context(Connection(parties))
            places = rng.integers(0, len(scores), size)
            work = _request(connection, places, scores, load, due, began + warm_up, idle)
            task = asyncio.create_task(work)
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    load.seconds = time.monotonic() - began - warm_up
    return load


async def _request(
    connection: Connection,
    places: NDArray[np.int64],
    scores: NDArray[np.float64],
    load: Load,
    due: float,
    counted_from: float,
    idle: list[Connection],
) -> None:
    status, body = await connection.predict([f"customer-{place}" for place in places])
    now = time.monotonic()
    idle.append(connection)
    if status != 200:
        load.errors[body["error"]["code"]] += 1
        load.error_moments.append(now)
        return
    got = np.array([row["score"] for row in body["scores"]])
    load.wrong += int((np.abs(got - scores[places]) > 1e-6).sum())
    load.moments.append(now)
    if due >= counted_from:
        load.times.append(1000 * (now - due))


@dataclass(frozen=True)
class Killed:
    """A run in which the passive party was killed; seconds."""

    load: Load
    killed: float
    returned: float

    @property
    def recovered(self) -> float:
        """From the passive party's return to the first score after it."""
        return min(moment for moment in self.load.moments if moment > self.returned) - self.returned

    @property
    def last_error(self) -> float:
        """From the passive party's return to the last error."""
        return max(self.load.error_moments, default=self.returned) - self.returned


async def run_kill(parties: Parties, size: int, rate: float) -> Killed:
    """Kill the passive party after three seconds of load, and start it again two seconds later."""
    load = asyncio.create_task(run_load(parties, size, rate, 15.0, warm_up=0.0))
    await asyncio.sleep(3)
    parties.kill(PASSIVE)
    killed = time.monotonic()
    await asyncio.sleep(2)
    await asyncio.get_running_loop().run_in_executor(None, parties.start, PASSIVE)
    returned = time.monotonic()
    return Killed(await load, killed, returned)


def report_kill(console: Console, run: Killed) -> None:
    """What the kill did."""
    load = run.load
    errors = ", ".join(f"{count} {code}" for code, count in load.errors.items()) or "none"
    console.print(
        f"killed under load: {len(load.moments):,} requests scored, errors: {errors}, wrong rows:"
        f" {load.wrong}\n"
        f"away for {run.returned - run.killed:.1f} s; first score {run.recovered:.2f} s after its return,"
        f" last error {run.last_error:.2f} s after it",
        highlight=False,
    )
