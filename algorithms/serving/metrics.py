"""What the active party counts, for Prometheus. Who asked for how much is in the audit log alone."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

#: Of the text that `Metrics.text` returns.
MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """All that the active party counts.

    Every token may read them, so they tell nothing of single callers.
    """

    def __init__(self) -> None:
        self._registry = here = CollectorRegistry()
        self.requests = Counter(
            "hecore_requests", "Requests by path and status.", ["path", "status"], registry=here
        )
        self.rows = Counter(
            "hecore_rows", "Rows scored, and whether all parties answered.", ["complete"], registry=here
        )
        self.refused = Counter("hecore_refused", "Requests refused, by reason.", ["code"], registry=here)
        self.seconds = Histogram(
            "hecore_request_seconds", "Time of a request to /predict.", buckets=SECONDS, registry=here
        )
        self.asked = Histogram(
            "hecore_question_seconds",
            "Time until all passive parties answered.",
            buckets=SECONDS,
            registry=here,
        )
        self.batch = Histogram("hecore_batch_rows", "Rows of a question.", buckets=ROWS, registry=here)
        self.peers = Gauge("hecore_peer_up", "Whether a passive party is there.", ["peer"], registry=here)
        self.active = Gauge(
            "hecore_model_active", "1 for the model that is active.", ["model"], registry=here
        )

    def text(self) -> bytes:
        """Everything, as /metrics shows it."""
        return generate_latest(self._registry)
