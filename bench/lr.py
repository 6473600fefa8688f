"""A joint linear model measured end to end: both parties on this machine, over a channel in one process.

A run trains on as many batches as are asked for; an epoch's figures are those of a batch times the batches of
an epoch, since every batch costs the same. A batch's time runs from the end of the one before, on the active
party's clock; the first, in which kernels and tables warm up, is not counted.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table as Printed

from hecore import generate_key
from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.data import Table
from hecore.algorithms.lr import LinearConfig, Progress, VerticalLogisticRegression
from hecore.algorithms.lr.exact.widths import precise
from hecore.algorithms.lr.steps import encode_features
from hecore.kernels.multiexp import Entries, plan_entries

from .command import print_machine, told_key_bits
from .gbdt import PartyCost, ProblemError
from .gbdt_estimate import H200_TARGETS, Rates, measured_rates
from .machine import describe, versions
from .record import Machine
from .synthetic import make_tables

PHASES = {
    "encrypt": "encrypting shares",
    "validate": "validating",
    "product": "products, packing, fresh noise",
    "decrypt": "decrypting replies",
    "link": "polynomial on shares",
    "loss": "loss",
    "update": "update of shares",
    "wait": "waiting for the peer",
}
#: Frames that come once a training, or once an epoch: not scaled with the batches.
ONCE = {"hello", "lr.terms", "lr.exact.start", "lr.final_share", "lr.epoch", "lr.loss_query", "lr.loss_share"}


class LinearRun(msgspec.Struct, frozen=True, kw_only=True):
    """Batches of one training, and what they make of an epoch.

    products_per_entry   ciphertext products planned for a feature of the passive party's legs
    batch_bytes          both ways, by type of message
    """

    rows: int
    columns: tuple[int, int]
    batch_rows: int
    epoch_batches: int
    feature_bits: int
    sigmoid: str
    mode: str = "shared"
    key_bits: int
    batch_seconds: list[float]
    processor_seconds: list[float]
    products_per_entry: dict[str, float]
    batch_bytes: dict[str, float]
    parties: dict[str, PartyCost]

    @property
    def epoch_seconds(self) -> float:
        """The median batch, times the batches of an epoch."""
        return statistics.median(self.batch_seconds) * self.epoch_batches

    @property
    def epoch_bytes(self) -> float:
        """Both ways."""
        return sum(self.batch_bytes.values()) * self.epoch_batches


class LinearRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it is written to a file."""

    format: str = "hecore-bench lr"
    version: int = 1
    created: str
    command: str
    machine: Machine
    versions: dict[str, str]
    run: LinearRun


def measure(
    rows: int, columns: tuple[int, int], batches: int, config: LinearConfig, *, key_bits: int = 2048
) -> LinearRun:
    """Train on `batches` batches, and one more to warm up, of a training on `rows` rows of normal columns."""
    if rows < config.batch_size or min(columns) < 1 or batches < 1:
        raise ProblemError(
            f"{rows} rows in batches of {config.batch_size}, {columns[0]} + {columns[1]} columns: no problem"
        )
    tables = make_tables((batches + 1) * config.batch_size, columns)
    config = precise(msgspec.structs.replace(config, epochs=1, allow_small_data=True))
    channels = loopback_pair()
    insecure = key_bits < 2048
    models = [
        VerticalLogisticRegression(end, config, key=generate_key(key_bits, insecure_test_key=insecure))
        for end in channels
    ]
    marks: list[tuple[float, float]] = []

    def note(_: Progress) -> None:
        marks.append((time.perf_counter(), time.process_time()))

    with ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(models[0].fit, tables[0], None, None, note),
            pool.submit(models[1].fit, tables[1]),
        ]
        for future in futures:
            future.result()
    seconds = np.diff(np.array(marks), axis=0).tolist()
    sent = [channel.traffic.sent for channel in channels]
    by_type: dict[str, float] = {}
    for tally in sent:
        for tag, (_, size) in tally.by_type.items():
            if tag not in ONCE:
                by_type[tag] = by_type.get(tag, 0.0) + size / (batches + 1)
    return LinearRun(
        rows=rows,
        columns=columns,
        batch_rows=config.batch_size,
        epoch_batches=max(1, round(rows / config.batch_size)),
        feature_bits=config.feature_bits,
        sigmoid=config.sigmoid,
        mode=config.mode,
        key_bits=key_bits,
        batch_seconds=[clock for clock, _ in seconds],
        processor_seconds=[processor for _, processor in seconds],
        products_per_entry=products_per_entry(tables[1], config),
        batch_bytes=by_type,
        parties={
            name: PartyCost(
                seconds={key: float(value) for key, value in model.meter.seconds.items()},
                operations={key: int(value) for key, value in model.meter.operations.items()},
                sent_bytes=tally.bytes,
                sent_messages=tally.messages,
            )
            for name, model, tally in zip(("active", "passive"), models, sent, strict=True)
        },
    )


def products_per_entry(table: Table, config: LinearConfig) -> dict[str, float]:
    """Products that the chosen plans take for X·[w] and Xᵀ·[e] of one batch, by entries of X."""
    matrix = encode_features(table.values[: config.batch_size], config)
    found = {}
    for leg, part in (("forward", matrix), ("backward", matrix.transpose())):
        rows, columns = part.shape
        entries = Entries.of(part.limbs.reshape(rows, columns, -1))
        found[leg] = plan_entries(entries).products / len(entries.row)
    return found


def epoch_estimate(run: LinearRun, rates: Rates) -> dict[str, float]:
    """Seconds of an epoch's work of both parties one after another, from operations and rates.

    A batch of B rows and D columns in all, packed s to a ciphertext of b bits each:

        encryptions   2·B + D                    decryptions, re-randomisations   (2·B + D)/s
        products      entries · products/entry   squarings for packing            (2·B + D) · b
    """
    rows, columns = run.batch_rows, sum(run.columns) + 1
    numbers, slots, bits = 2 * rows + columns, 15, 135
    entries = rows * columns
    each = sum(run.products_per_entry.values())
    return {
        "encrypt": run.epoch_batches * numbers / rates.encrypt,
        "products": run.epoch_batches * entries * each / rates.product,
        "pack": run.epoch_batches * numbers * bits / rates.squaring,
        "replies": run.epoch_batches * numbers / slots * (1 / rates.rerandomize + 1 / rates.decrypt),
    }


def measure_and_print(
    rows: int,
    columns: tuple[int, int],
    batches: int,
    config: LinearConfig,
    key_bits: int,
    console: Console,
    json: Path | None,
    estimate: bool,
) -> LinearRecord:
    """What `hecore-bench lr` does."""
    machine = describe(None)
    run = measure(rows, columns, batches, config, key_bits=key_bits)
    record = LinearRecord(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=(
            f"hecore-bench lr --rows {rows} --columns {columns[0]},{columns[1]} --batch-size"
            f" {config.batch_size} --batches {batches} --feature-bits {config.feature_bits} --sigmoid"
            f" {config.sigmoid} --mode {config.mode} {told_key_bits(key_bits)}"
            f"{' --estimate' if estimate else ''}"
        ),
        machine=machine,
        versions=versions(),
        run=run,
    )
    _print(run, console)
    if estimate:
        _print_estimates(run, console)
    print_machine(machine, record.command, console)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    return record


def _print(run: LinearRun, console: Console) -> None:
    done = len(run.batch_seconds) + 1
    title = (
        f"{run.rows:,} × ({run.columns[0]} + {run.columns[1]}), {run.epoch_batches} batches of"
        f" {run.batch_rows} an epoch, {run.feature_bits} feature bits, mode {run.mode}; {done - 1} batches"
        " measured"
    )
    console.print(title, highlight=False)
    low, high = min(run.batch_seconds), max(run.batch_seconds)
    processor = statistics.median(run.processor_seconds)
    each = ", ".join(f"{leg} {value:.2f}" for leg, value in run.products_per_entry.items())
    for line in (
        f"a batch: {statistics.median(run.batch_seconds):.2f} s (range {low:.2f}–{high:.2f}),"
        f" {processor:.2f} s of processor for both parties",
        f"an epoch: {run.epoch_seconds:.0f} s, {run.epoch_bytes / 1e6:.0f} MB both ways (scaled)",
        f"products an entry, passive party: {each}",
    ):
        console.print(line, highlight=False)
    table = Printed(title="seconds a batch by phase (the parties work at the same time)")
    table.add_column("phase")
    for party in run.parties:
        table.add_column(party, justify="right")
    for phase, text in PHASES.items():
        seconds = [party.seconds.get(phase, 0.0) / done for party in run.parties.values()]
        table.add_row(text, *(f"{value:.3f}" for value in seconds))
    console.print(table)
    sizes = Printed(title="bytes a batch, both ways")
    sizes.add_column("message")
    sizes.add_column("kB", justify="right")
    for tag, size in sorted(run.batch_bytes.items(), key=lambda item: -item[1]):
        sizes.add_row(tag, f"{size / 1e3:,.1f}")
    console.print(sizes)


def _print_estimates(run: LinearRun, console: Console) -> None:
    table = Printed(title="estimate of an epoch from operations and rates: seconds, both parties")
    for name in ("machine", "encrypt", "products", "pack", "replies", "sum"):
        table.add_column(name, justify="left" if name == "machine" else "right")
    for rates in (measured_rates(), H200_TARGETS):
        parts = epoch_estimate(run, rates)
        table.add_row(rates.name, *(f"{value:,.2f}" for value in (*parts.values(), sum(parts.values()))))
    console.print(table)
