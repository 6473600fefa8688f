"""`hecore-bench psi`: private set intersection between two processes on this machine, beside another library.

Each side holds `count` ids, half of them in common. The clock runs from the moment both processes have their
ids in memory until both have their rows, over ZeroMQ with CURVE on the loopback interface; every result is
checked. "durable" keeps all messages and a checkpoint every five seconds on disk, in the folder for temporary
files. openmined.psi runs both its sides in one process, one after the other, without a network.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hecore.algorithms.cli.console import friendly
from hecore.errors import HecoreError

from .command import words
from .machine import limited

ACTIVE, PASSIVE = "active", "passive"
MEMORY, DURABLE = "memory", "durable"
#: Seconds between two checkpoints, as `hecore psi --state` has them.
INTERVAL = 5.0
JOB = "bench"
SECONDS_TO_START = 120.0


@dataclass(frozen=True)
class Measured:
    """One run: wall clock, processor seconds of both sides, highest resident memory of a side in MiB."""

    subject: str
    seconds: float
    processor: float
    memory: float


@friendly
def psi(
    count: Annotated[int, typer.Option(min=2, help="Ids of each side; half of them are common.")] = 100_000,
    channels: Annotated[
        str, typer.Option(help="What survives a kill: memory (nothing), durable (all), or both.")
    ] = "memory,durable",
    peers: Annotated[str, typer.Option(help="Another library beside it: openmined.")] = "",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processors, and threads of each side; all if absent.")
    ] = None,
) -> None:
    """Time private set intersection, both sides on this machine."""
    wanted, kept = words(peers), words(channels)
    if unknown := set(kept) - {MEMORY, DURABLE}:
        raise HecoreError(f"no channel {min(unknown)!r} for psi: {MEMORY}, {DURABLE}")
    if unknown := set(wanted) - {"openmined"}:
        raise HecoreError(f"no peer {min(unknown)!r} for psi: openmined")
    if wanted and util.find_spec("private_set_intersection") is None:
        raise HecoreError("openmined is not installed: pip install openmined.psi")
    with limited(threads):
        runs = [hecore_run(count, durable=channel == DURABLE) for channel in kept]
        runs += [openmined_run(count)] if wanted else []
    grid = Table(title=f"{count:,} × {count:,} ids")
    for heading in ("", "seconds", "processor seconds", "ids/s", "MiB a side"):
        grid.add_column(heading, justify="right" if heading else "left")
    for run in runs:
        rate = 2 * count / run.seconds
        cells = (f"{run.seconds:.1f}", f"{run.processor:.1f}", f"{rate:,.0f}", f"{run.memory:,.0f}")
        grid.add_row(run.subject, *cells)
    Console().print(grid)


def ids_of(role: str, count: int) -> list[str]:
    """`count` ids; the second half of the active side's is the first of the passive side's."""
    first = 0 if role == ACTIVE else count // 2
    return [f"customer-{number:012d}" for number in range(first, first + count)]


def hecore_run(count: int, *, durable: bool) -> Measured:
    """Two processes, and a check that both found the common half. HecoreError where one failed."""
    with tempfile.TemporaryDirectory(prefix="hecore-bench-") as folder:
        return _hecore_run(count, folder if durable else None)


def _hecore_run(count: int, folder: str | None) -> Measured:
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Any] = {}
    processes: list[Any] = []
    try:
        for role in (ACTIVE, PASSIVE):
            pipes[role], theirs = context.Pipe()
            process = context.Process(target=_party, args=(role, count, folder, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
        keys = {role: _next(pipe, role) for role, pipe in pipes.items()}
        pipes[ACTIVE].send(keys[PASSIVE])
        pipes[PASSIVE].send((keys[ACTIVE], _next(pipes[ACTIVE], ACTIVE)))
        for role, pipe in pipes.items():
            _next(pipe, role)
        started = time.perf_counter()
        for pipe in pipes.values():
            pipe.send("go")
        results = {role: _next(pipe, role) for role, pipe in pipes.items()}
        seconds = time.perf_counter() - started
    finally:
        for process in processes:
            process.kill()
            process.join()
    for role, (common, _, _) in results.items():
        if common != count - count // 2:
            raise HecoreError(f"the {role} side found {common} common ids instead of {count - count // 2}")
    processor = sum(used for _, used, _ in results.values())
    name = f"hecore, {MEMORY if folder is None else DURABLE}"
    return Measured(name, seconds, processor, max(memory for _, _, memory in results.values()))


def _next(pipe: Any, role: str) -> Any:
    try:
        value = pipe.recv()
    except (EOFError, OSError):
        raise HecoreError(f"the {role} process ended") from None
    if isinstance(value, Exception):
        raise HecoreError(f"the {role} process failed: {value}")
    return value


def _party(role: str, count: int, folder: str | None, pipe: Any) -> None:
    """The main function of a process: one side."""
    try:
        pipe.send(_align(role, count, folder, pipe))
    except Exception as error:
        pipe.send(HecoreError(f"{type(error).__name__}: {error}"))


def _align(role: str, count: int, folder: str | None, pipe: Any) -> tuple[int, float, float]:
    from hecore.algorithms.channel import CurveKeys, FolderStore, ZmqOptions, dial, listen
    from hecore.algorithms.checkpoint import Checkpoints
    from hecore.algorithms.data import Ids
    from hecore.algorithms.psi import align

    ids = Ids(ids_of(role, count))
    store = None if folder is None else FolderStore(Path(folder) / role, role, JOB)
    options: dict[str, Any] = {
        "job": JOB,
        "options": ZmqOptions(connect_timeout=SECONDS_TO_START),
        "store": store,
    }
    keys = CurveKeys.generate()
    pipe.send(keys.public)
    if role == ACTIVE:
        known = {PASSIVE: pipe.recv()}
        channel = listen(ACTIVE, PASSIVE, "tcp://127.0.0.1:0", keys, known, **options)
        pipe.send(channel.endpoint)
    else:
        public, endpoint = pipe.recv()
        channel = dial(PASSIVE, ACTIVE, endpoint, keys, {ACTIVE: public}, **options)
    with channel:
        pipe.send("ready")
        pipe.recv()
        before = time.process_time()
        checkpoints = None if store is None else Checkpoints(store, channel, every=0, seconds=INTERVAL)
        found = align(channel, ids, role, checkpoints=checkpoints)
        used = time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found.common if found.rows is not None else 0, used, memory


def openmined_run(count: int) -> Measured:
    """openmined.psi with its exact data structure; the client learns the common ids."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_openmined, args=(count, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        common, seconds, processor, memory = _next(mine, "openmined")
    finally:
        process.kill()
        process.join()
    if common != count - count // 2:
        raise HecoreError(f"openmined found {common} common ids instead of {count - count // 2}")
    return Measured("openmined.psi", seconds, processor, memory)


def _openmined(count: int, pipe: Any) -> None:
    import private_set_intersection.python as library

    active, passive = ids_of(ACTIVE, count), ids_of(PASSIVE, count)
    started, before = time.perf_counter(), time.process_time()
    client, server = library.client.CreateWithNewKey(True), library.server.CreateWithNewKey(True)
    setup = server.CreateSetupMessage(0.0, count, passive, library.DataStructure.RAW)
    request = client.CreateRequest(active)
    response = server.ProcessRequest(request)
    common = client.GetIntersection(setup, response)
    seconds, used = time.perf_counter() - started, time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send((len(common), seconds, used, memory))
