"""What a run's record says of its job: settings, protocols, rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hecore.algorithms.data import Split, Table
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.job.data import JobData
from hecore.algorithms.job.folder import RECORD, RunFolder, read_record
from hecore.algorithms.job.records import Rows, RunRecord
from hecore.algorithms.settings_file import toml_value


def open_records(job: JobFile) -> RunFolder:
    """The records of a run that goes on, or of a new one."""
    settings: dict[str, Any] = {
        "peers": sorted(job.peers),
        "algorithm": job.algorithm,
        "protocols": [*(["psi"] if job.alignment.method == "psi" else []), _protocol(job), "job"],
        "key_bits": job.key.bits,
        "configuration": job.sections(),
    }
    if (job.folder / RECORD).exists():
        folder = RunFolder.open(job.folder)
        folder.update(**settings)  # what is not agreed may have been mended since
        return folder
    party = job.party
    return RunFolder.create(job.folder, job=job.job, party=party.name, role=party.role, **settings)


def check_folder(job: JobFile) -> None:
    """ConfigurationError where the folder of the run holds one of another job or party."""
    if not (job.folder / RECORD).exists():
        return
    record = read_record(job.folder)
    for what, theirs, own in (("job", record.job, job.job), ("party", record.party, job.party.name)):
        if theirs != own:
            raise ConfigurationError(
                f"{job.folder} holds a run of {what} {theirs!r}, this is {what} {own!r}: choose another"
                " run.folder"
            )


def check_same(job: JobFile, record: RunRecord) -> None:
    """ConfigurationError where a finished run is of other settings or data than its job file says."""
    now = job.sections()
    sections = ("party", "data", "alignment", "split", "algorithm")
    pairs = [
        (f"{section}.{key}", value, now.get(section, {}).get(key))
        for section in sections
        for key, value in record.configuration.get(section, {}).items()
    ]
    pairs += [("peers", sorted(record.peers), sorted(job.peers)), ("key.bits", record.key_bits, job.key.bits)]
    for name, before, after in pairs:
        if before != after:
            raise ConfigurationError(
                f"{job.folder} holds a finished run with {name} = {toml_value(before)}, now it is"
                f" {toml_value(after)}: take another run.folder, or begin anew with --anew at all parties"
            )


def _protocol(job: JobFile) -> str:
    """The name under which the messages of the training are listed."""
    if job.algorithm == "gbdt":
        return "gbdt"
    return f"linear-{getattr(job.parameters, 'mode', 'shared')}"


def test_values(results: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """Metric → value of the test rows."""
    return {name: value for name, parts in results.items() if (value := parts.get("test")) is not None}


def row_counts(data: JobData, table: Table, parts: Split) -> Rows:
    """How many rows there are of which kind."""
    return Rows(
        own=len(data.ids),
        common=len(table),
        train=parts.train.size,
        validation=parts.validation.size,
        test=parts.test.size,
    )
