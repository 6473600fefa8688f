"""Counts and times for Prometheus, in its text format."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
Labels = tuple[tuple[str, str], ...]


class Counter:
    """A number that grows, by labels."""

    kind = "counter"

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self._values: dict[Labels, float] = defaultdict(float)

    def add(self, amount: float = 1, **labels: str) -> None:
        """Let it grow."""
        self._values[tuple(sorted(labels.items()))] += amount

    def value(self, **labels: str) -> float:
        """What it stands at."""
        return self._values.get(tuple(sorted(labels.items())), 0.0)

    def lines(self) -> Iterator[str]:
        """In the text format."""
        for labels, value in sorted(self._values.items()):
            yield f"{self.name}{_shown(labels)} {value:g}"


class Gauge(Counter):
    """A number that is set, by labels."""

    kind = "gauge"

    def set(self, amount: float, **labels: str) -> None:
        """Set it."""
        self._values[tuple(sorted(labels.items()))] = amount


class Histogram:
    """How often a value was at most each of some bounds."""

    kind = "histogram"

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self.name, self.text, self._bounds = name, text, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self) -> Iterator[str]:
        """In the text format."""
        total = 0
        for bound, count in zip((*map("{:g}".format, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{self.name}_bucket{{le="{bound}"}} {total}'
        yield f"{self.name}_sum {self._sum:.6f}"
        yield f"{self.name}_count {total}"


class Metrics:
    """All that the active party counts."""

    def __init__(self) -> None:
        self.requests = Counter("hecore_requests_total", "Requests by path and status.")
        self.rows = Counter("hecore_rows_total", "Rows scored by caller and whether all parties answered.")
        self.refused = Counter("hecore_refused_total", "Requests refused, by reason.")
        self.seconds = Histogram("hecore_request_seconds", "Time of a request to /predict.", SECONDS)
        self.asked = Histogram("hecore_question_seconds", "Time until all passive parties answered.", SECONDS)
        self.batch = Histogram("hecore_batch_rows", "Rows of a question.", ROWS)
        self.peers = Gauge("hecore_peer_up", "Whether a passive party is there.")
        self.active = Gauge("hecore_model_active", "1 for the model that is active.")

    def text(self) -> str:
        """Everything, as /metrics shows it."""
        lines: list[str] = []
        for metric in vars(self).values():
            lines += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}"]
            lines += metric.lines()
        return "\n".join(lines) + "\n"


def _shown(labels: Labels) -> str:
    if not labels:
        return ""
    quoted = (f'{name}="{_escaped(value)}"' for name, value in labels)
    return "{" + ",".join(quoted) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
