"""What came of the demo, and what it took: tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from hecore.algorithms.demo.compare import Comparison
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.job.folder import read_record
from hecore.algorithms.job.records import RunRecord
from hecore.algorithms.report.words import OPERATIONS, PHASES, size

#: Metrics that fit beside the models' names; the others are in the records.
SHOWN = ("AUC", "accuracy", "log loss")
#: Why scikit-learn's figures are others than those of the joint model.
TREES = (
    "scikit-learn's model is HistGradientBoostingClassifier: as many trees of the same depth, but other ones,"
    " from bins of its own and without reg_lambda and min_child_weight. On so few rows that shows."
)
LINEAR = (
    "scikit-learn's model is LogisticRegression, trained to its optimum. The joint one has the linear sigmoid"
    " and few epochs: its scores rank patients, and are no calibrated probabilities, hence the log loss."
    " docs/linear.md says what to take where probabilities are needed."
)


def score_table(comparison: Comparison) -> Table:
    """Metrics of each model on the rows that were kept for testing."""
    title = f"{comparison.tested} patients kept for testing, of {comparison.common} whom all parties know"
    table = Table(title=title)
    table.add_column("model")
    for metric in SHOWN:
        table.add_column(metric, justify="right")
    for name, values in comparison.metrics.items():
        table.add_row(name, *(f"{values[metric]:.4f}" for metric in SHOWN))
    return table


def verdict(comparison: Comparison) -> str:
    """Whether the joint model is the centralised one, and why scikit-learn's is another."""
    where, apart = "those of all columns in one place", comparison.difference
    if apart == 0:
        return f"The joint trees are {where}: all {comparison.tested} scores are equal, bit for bit.\n{TREES}"
    if apart is not None:
        return f"The joint scores are not {where}: they differ by up to {apart:g}."
    joint, together = list(comparison.metrics.values())[:2]
    auc, loss = (abs(joint[name] - together[name]) for name in ("AUC", "log loss"))
    apart_by = f"differ by {auc:.4f}, log losses by {loss:.4f}"
    return f"The joint AUC and that of all columns in one place {apart_by}.\n{LINEAR}"


def party_table(jobs: Sequence[JobFile]) -> Table:
    """Seconds by phase, bytes and ciphertext operations of each party, from the records of its run."""
    records = [read_record(job.folder) for job in jobs]
    table = Table(title=f"what it took ({records[0].elapsed:.1f} s)")
    table.add_column("")
    for record in records:
        table.add_column(f"{record.party}\n{record.role}", justify="right")
    for phase, text in PHASES.items():
        if any(record.seconds.get(phase) for record in records):
            table.add_row(f"{text}, seconds", *(f"{one.seconds.get(phase, 0.0):.2f}" for one in records))
    rest = (max(0.0, one.elapsed - sum(one.seconds.values())) for one in records)
    table.add_row("everything else, seconds", *(f"{seconds:.2f}" for seconds in rest))
    table.add_section()
    table.add_row("sent", *(size(_sent(record, "bytes")) for record in records))
    table.add_row("messages sent", *(f"{_sent(record, 'messages'):,}" for record in records))
    resent = [sum(link.resent_bytes for link in record.links.values()) for record in records]
    if any(resent):
        table.add_row("sent again", *map(size, resent))
    table.add_row("processes started", *(str(record.starts) for record in records))
    table.add_row("backend", *(record.backend for record in records))
    table.add_section()
    for operation, text in OPERATIONS.items():
        counts = [record.totals.get(operation, 0) for record in records]
        if any(counts) and not operation.startswith("bytes_"):
            table.add_row(text, *(f"{count:,}" for count in counts))
    return table


def _sent(record: RunRecord, what: str) -> int:
    return sum(getattr(traffic.sent, what) for traffic in record.traffic.values())
