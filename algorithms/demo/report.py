"""What a joint run did, for people: tables for the terminal, a plot for a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table as RichTable

from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.party import ACTIVE, PASSIVE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hecore.algorithms.demo.results import DemoResult

OPERATIONS = {
    "encrypt": "values encrypted",
    "decrypt": "ciphertexts decrypted",
    "matrix_entries": "matrix entries × ciphertexts",
    "pack": "values packed into slots",
    "rerandomize": "ciphertexts re-randomised",
    "validate": "ciphertexts validated",
}
PHASES = {
    "encrypt": "encrypting shares",
    "product": "encrypted products",
    "decrypt": "decrypting replies",
    "loss": "loss",
    "update": "weight updates",
    "validate": "validating",
    "send": "sending",
    "checkpoint": "checkpoints",
    "wait": "waiting for the peer",
}
TREE_OPERATIONS = {
    "encrypt": "rows of (g, h) encrypted",
    "validate": "ciphertexts validated",
    "histogram_entries": "rows × columns summed up",
    "pack": "sums packed into slots",
    "rerandomize": "ciphertexts re-randomised",
    "decrypt": "ciphertexts decrypted",
}
TREE_PHASES = {
    "encrypt": "encrypting (g, h)",
    "histogram": "encrypted histograms",
    "pack": "packing, fresh noise",
    "decrypt": "decrypting sums",
    "local": "own histograms",
    "validate": "validating",
    "send": "sending",
    "checkpoint": "checkpoints",
    "wait": "waiting for the peer",
}
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#64b5cd", "#ccb974", "#d0d0d0")


def score_table(result: DemoResult) -> RichTable:
    """AUC and accuracy of each model on the held-out rows."""
    table = RichTable(title=f"held-out rows ({result.test_rows} of {result.train_rows + result.test_rows})")
    table.add_column("model")
    table.add_column("AUC", justify="right")
    table.add_column("accuracy", justify="right")
    for name, (auc, accuracy) in result.scores.items():
        table.add_row(name, f"{auc:.4f}", f"{accuracy:.4f}")
    return table


def party_table(result: DemoResult) -> RichTable:
    """Time by phase, bytes and ciphertext operations of each party."""
    table = RichTable(title=f"what it took ({result.training_seconds:.1f} s of joint work)")
    table.add_column("")
    for role in (ACTIVE, PASSIVE):
        table.add_column(role, justify="right")
    parties = [result.parties[role] for role in (ACTIVE, PASSIVE)]
    phases, operations = _words(result)
    for phase, text in phases.items():
        table.add_row(f"{text}, seconds", *(f"{party.seconds.get(phase, 0.0):.2f}" for party in parties))
    rest = (max(0.0, result.training_seconds - sum(party.seconds.values())) for party in parties)
    table.add_row("start, handshake and scoring, seconds", *(f"{seconds:.2f}" for seconds in rest))
    table.add_section()
    table.add_row("sent", *(megabytes(party.sent["bytes"]) for party in parties))
    table.add_row("messages sent", *(f"{party.sent['messages']:,}" for party in parties))
    table.add_row("resent after a break", *(megabytes(party.link.resent_bytes) for party in parties))
    trips = (party.link.round_trip for party in parties)
    table.add_row("round trip, ms", *("" if trip is None else f"{1000 * trip:.1f}" for trip in trips))
    table.add_section()
    for operation, text in operations.items():
        table.add_row(text, *(f"{party.operations.get(operation, 0):,}" for party in parties))
    return table


def _words(result: DemoResult) -> tuple[dict[str, str], dict[str, str]]:
    """Phases and operations of the algorithm that ran."""
    return (TREE_PHASES, TREE_OPERATIONS) if result.algorithm == "gbdt" else (PHASES, OPERATIONS)


def _unit(result: DemoResult) -> str:
    return "tree" if result.algorithm == "gbdt" else "epoch"


def summary(result: DemoResult) -> str:
    """Backend, keys and loss in a sentence or two."""
    used = {party.backend for party in result.parties.values()}
    loss = result.parties[ACTIVE].loss
    unit = _unit(result)
    killed = f"killed {result.kills} times in mid-run and resumed; " if result.kills else ""
    return (
        f"{killed}backend {', '.join(sorted(used))}; keys made in {result.key_setup_seconds:.1f} s, processes"
        f" started included; training loss {loss[0]:.4f} in the first {unit}, {loss[-1]:.4f} in the last."
        " Each party's messages are listed in THREAT_MODEL.md."
    )


def megabytes(count: int) -> str:
    """Bytes as text, in MB from one up."""
    return f"{count / 1e6:,.1f} MB" if count >= 1_000_000 else f"{count / 1e3:,.1f} kB"


def check_plot(path: Path) -> None:
    """ConfigurationError for a file that `plot_run` could not write: better before a long run than after."""
    from matplotlib.backend_bases import FigureCanvasBase

    formats = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.removeprefix(".").lower() not in formats:
        raise ConfigurationError(
            f"plot = {path} ends in no known image format: take .png, or one of {', '.join(formats)}"
        )
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"lies in {path.parent}, which is no folder"
        raise ConfigurationError(f"plot = {path} {what}")


def plot_run(result: DemoResult, path: Path) -> None:
    """The loss by epoch and each party's time by phase, written to `path` (its suffix chooses the format)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _plot_loss(left, result)
    _plot_phases(right, result)
    joint, central = list(result.scores.values())[:2]
    name = "trees" if result.algorithm == "gbdt" else "logistic regression"
    figure.suptitle(
        f"joint {name}: AUC {joint[0]:.4f} on held-out rows; {central[0]:.4f} with all columns in one place"
    )
    figure.savefig(path, dpi=130)


def _plot_loss(axes: Axes, result: DemoResult) -> None:
    from matplotlib.ticker import MaxNLocator

    loss = result.parties[ACTIVE].loss
    axes.plot(range(1, len(loss) + 1), loss, marker="o", color=COLOURS[0])
    title = "loss by tree" if result.algorithm == "gbdt" else "loss, one number opened an epoch"
    axes.set(xlabel=_unit(result), ylabel="training loss", title=title)
    axes.set_xlim(0.5, len(loss) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)


def _plot_phases(axes: Axes, result: DemoResult) -> None:
    roles = [PASSIVE, ACTIVE]
    start = [0.0, 0.0]
    phases, _ = _words(result)
    for (phase, text), colour in zip(phases.items(), COLOURS, strict=True):
        seconds = [result.parties[role].seconds.get(phase, 0.0) for role in roles]
        axes.barh(roles, seconds, left=start, label=text, color=colour)
        start = [a + b for a, b in zip(start, seconds, strict=True)]
    axes.set(xlabel="seconds", title="time of each party")
    axes.set_xlim(0, 1.02 * max(start))
    figure = axes.get_figure()
    if figure is not None:
        figure.legend(fontsize=8, loc="outside lower right", ncols=5, frameon=False)
