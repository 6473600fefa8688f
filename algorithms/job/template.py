"""The job file that `hecore job init` writes: complete, with a word on every key that people change."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.party import ACTIVE, PASSIVE

_TREES = """\
name = "gbdt"                  # gradient-boosted trees; "linear": logistic, linear, Poisson regression
objective = "binary:logistic"  # or "multi:softprob", "reg:squarederror", "count:poisson"
n_estimators = 50
max_depth = 5
max_bin = 64
learning_rate = 0.3
seed = 0                       # of row and column sampling; which rows train, [split] key says
early_stopping_rounds = 0      # rounds without progress on validation rows; 0 never stops early
"""
_LINEAR = """\
name = "linear"                # linear models; "gbdt": gradient-boosted trees
epochs = 6
batch_size = 512
learning_rate = 0.05
seed = 0                       # of the order of the rows; which rows train, [split] key says
"""
ALGORITHM_TEXTS = {"gbdt": _TREES, "linear": _LINEAR}


def job_template(
    *,
    job: str,
    name: str,
    role: str,
    peers: Sequence[str],
    file: str,
    listen: str | None,
    dial: str | None,
    label: str | None,
    algorithm: str,
    id_column: str = "id",
) -> str:
    """The text of a job file. ConfigurationError for values that no job file may have together."""
    if role not in (ACTIVE, PASSIVE):
        raise ConfigurationError(f"role = {role!r}: one of {ACTIVE!r}, {PASSIVE!r}")
    if algorithm not in ALGORITHM_TEXTS:
        raise ConfigurationError(f"algorithm = {algorithm!r}: one of {', '.join(map(repr, ALGORITHM_TEXTS))}")
    if role == ACTIVE and label is None:
        raise ConfigurationError("the active party names its column of labels: --label")
    if listen is None and dial is None:
        raise ConfigurationError(
            "--listen or --dial is missing: one side listens where others can reach it, the other dials"
        )
    if listen is not None and dial is not None:
        raise ConfigurationError("one side listens and the other dials: --listen or --dial, not both")
    if dial is not None and len(peers) > 1:
        raise ConfigurationError(
            f"--dial goes to one peer, not to {', '.join(peers)}: edit the file for more"
        )
    parts = [
        f"# {name}'s part of a joint job. Lines marked (agreed) are the same at all parties.",
        f"job = {_q(job)}  # (agreed)",
        "",
        "[party]",
        f"name = {_q(name)}",
        f"role = {_q(role)}  # active: holds the label; passive: holds columns alone",
        f"keys = {_q(name + '.keys')}  # hecore party keygen --out {name}.keys",
        'allowed = "allowed.toml"  # hecore party trust PEER PEER.keys.pub',
        *([] if listen is None else [f"listen = {_q(listen)}"]),
        "",
        *(line for peer in peers for line in _peer(peer, dial)),
        "[data]",
        f"file = {_q(file)}  # CSV or Parquet, a row for each id",
        f"id = {_q(id_column)}",
        *([] if label is None else [f"label = {_q(label)}"]),
        "categorical = []  # columns of numbers that are categories",
        "drop = []  # columns to leave out",
        "",
        "[alignment]  # (agreed)",
        'method = "psi"  # or "none": all files have the same rows in the same order',
        "min_intersection = 100  # fewer common ids are an error",
        "",
        "[split]  # (agreed)",
        "validation = 0.1",
        "test = 0.2",
        "# key: 16 to 64 characters; the same ones give the same parts again. Left out, each run draws a new",
        "# key: other rows train, and metrics differ. Whoever knows it can tell in which part an id is.",
        "",
        "[algorithm]  # (agreed)",
        ALGORITHM_TEXTS[algorithm],
        "[key]",
        "bits = 2048  # (agreed); 3072 is recommended for data that must stay secret for decades",
        "",
        "[run]",
        f"folder = {_q(f'runs/{job}')}  # records, the share of the model, and the state while it runs",
        "checkpoint_seconds = 60.0",
    ]
    return "\n".join(parts) + "\n"


def _peer(name: str, dial: str | None) -> list[str]:
    address = [] if dial is None else [f"dial = {_q(dial)}"]
    return [f"[peers.{name if name.replace('-', '').replace('_', '').isalnum() else _q(name)}]", *address, ""]


def _q(text: str) -> str:
    """A TOML string: JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False)
