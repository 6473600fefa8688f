"""The page: what a run was, how it went, and who could read what."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import msgspec

from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.job.folder import read_record, read_rounds
from hecore.algorithms.job.home import in_use
from hecore.algorithms.report import sections, work
from hecore.algorithms.report.html import Element, document, style, tag
from hecore.algorithms.report.reading import leak_section
from hecore.algorithms.report.view import RunView

#: Nothing is loaded and nothing runs, whatever stands in a record.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def load_run(path: str | Path) -> RunView:
    """The run in a folder. RecordError if there is none, or one that cannot be read.

    One that was killed could not say so in its record: it runs no more, and so it was stopped.
    """
    record = read_record(path)
    if record.status == "running" and not in_use(Path(path)):
        record = msgspec.structs.replace(record, status="stopped")
    return RunView(record, read_rounds(path))


def build_page(run: RunView, peers: Sequence[RunView] = ()) -> str:
    """The HTML page of a run; `peers` are records of other parties of the same job, where they gave them.

    Raises ConfigurationError for a record of another job, or of a party that had no part in this run.
    """
    _check_peers(run, peers)
    parts = [
        ("results", "Results", sections.results(run)),
        ("curves", "Training", sections.curves(run)),
        ("time", "Time line", work.timelines(run, peers)),
        ("columns", "Feature importances", sections.columns(run)),
        ("work", "Time and operations", work.work(run, peers)),
        ("messages", "Messages", work.messages(run)),
        ("reading", "Who can read what", leak_section(run)),
        ("settings", "Configuration", sections.configuration(run)),
        ("run", "This run", sections.facts(run)),
    ]
    there = [(name, title, body) for name, title, body in parts if body is not None]
    return document(
        tag(
            "html",
            _head(run),
            tag(
                "body",
                sections.header(run),
                tag("nav", [tag("a", title, href=f"#{name}") for name, title, _ in there]),
                tag("main", [_section(*part) for part in there]),
                sections.footer(run),
            ),
            lang="en",
        )
    )


def _check_peers(run: RunView, peers: Sequence[RunView]) -> None:
    seen = {run.record.party}
    for peer in peers:
        record = peer.record
        if record.job != run.record.job:
            raise ConfigurationError(
                f"the record of {record.party} is of job {record.job!r}, not of {run.record.job!r}"
            )
        if record.party in seen or record.party not in {*run.record.peers, *_peers_of(peers)}:
            raise ConfigurationError(
                f"{record.party} is not one of the other parties of this run: {', '.join(run.record.peers)}"
            )
        seen.add(record.party)


def _peers_of(peers: Sequence[RunView]) -> set[str]:
    """A passive party knows the active one alone; that one's record names the others."""
    return {name for peer in peers if peer.record.role == "active" for name in peer.record.peers}


def _head(run: RunView) -> Element:
    sheet = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{run.record.job}: {run.record.party}"),
        style(sheet),
    )


def _section(name: str, title: str, body: Element) -> Element:
    return tag("section", tag("h2", title), body, id=name)
