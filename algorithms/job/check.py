"""What can be found wrong with a job before the other parties are asked: `hecore job check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from hecore import get_backend
from hecore.algorithms.channel import AllowList, CurveKeys
from hecore.algorithms.checks import counted
from hecore.algorithms.errors import ConfigurationError, TableError, told
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.job.data import JobData, check_labels
from hecore.algorithms.job.folder import RECORD
from hecore.algorithms.job.home import Home
from hecore.algorithms.job.recording import check_folder
from hecore.errors import HecoreError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, or what is wrong with it."""

    what: str
    text: str
    good: bool = True


def check_job(job: JobFile) -> list[Finding]:
    """Look at everything of a job file that lies at this party. Nothing is written, nobody is asked."""
    return list(_findings(job))


def _findings(job: JobFile) -> Iterator[Finding]:
    yield _tried("network keys", lambda: _network_keys(job))
    yield _tried("trusted parties", lambda: _trusted(job))
    yield _tried("Paillier key", lambda: _paillier(job))
    yield _tried("run folder", lambda: _folder(job))
    yield _tried("backend", lambda: get_backend(job.run.backend).name)
    try:
        data = JobData(job)
    except (HecoreError, OSError) as error:
        yield Finding("data", told(error), good=False)
        return
    yield Finding("data", data.summary())
    yield _tried("ids", lambda: _ids(data))
    if job.is_active:
        yield _tried("label", lambda: _label(job, data))


def _tried(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, look())
    except (HecoreError, OSError) as error:
        return Finding(what, told(error), good=False)


def _network_keys(job: JobFile) -> str:
    return f"{job.party.keys}, public key {CurveKeys.load(job.at(job.party.keys)).public}"


def _trusted(job: JobFile) -> str:
    path = job.at(job.party.allowed)
    if not path.exists():
        raise ConfigurationError(f"{path} is not there: hecore party trust NAME KEYFILE makes it")
    allowed = AllowList.load(path)
    own = ""
    with suppress(HecoreError, OSError):  # told with the network keys
        own = CurveKeys.load(job.at(job.party.keys)).public
    for peer in job.peers:
        if own in allowed.keys_of(peer):
            raise ConfigurationError(
                f"{path} has this party's own key under the name {peer}: hecore party distrust {peer},"
                " then trust the key that it sent"
            )
    return ", ".join(f"{peer} with {' or '.join(allowed.keys_of(peer))}" for peer in sorted(job.peers))


def _paillier(job: JobFile) -> str:
    if not job.needs_key:
        return "none needed: of trees the active party alone has one"
    if job.key.file is None:
        return f"{job.key.bits} bits, made by the job and removed after it"
    return f"{job.key.file}, fingerprint {Home(job).paillier_key().public.fingerprint.hex()[:16]}…"


def _folder(job: JobFile) -> str:
    check_folder(job)
    return f"{job.folder}{', which holds a run of this job' if (job.folder / RECORD).exists() else ''}"


def _ids(data: JobData) -> str:
    ids = data.ids
    empty, repeated = ids.empty().size, ids.repeated().size
    if empty or repeated:
        raise TableError(
            f"{counted(empty, 'row')} without an id, {repeated:,} with the id of an earlier row:"
            f" hecore data show {data.path.name} lists them"
        )
    return f"{len(ids):,}, all different"


def _label(job: JobFile, data: JobData) -> str:
    label = data.labels()
    check_labels(job, label)
    values, counts = np.unique(label, return_counts=True)
    if values.size > 20:
        return f"{values[0]:g} … {values[-1]:g}"
    pairs = zip(values, counts, strict=True)
    return ", ".join(f"{value:g}: {counted(int(count), 'row')}" for value, count in pairs)
