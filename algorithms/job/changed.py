"""Whether data that differ from those of a job under way are a changed file, or a changed job file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec

from hecore.algorithms.checkpoint import naming_changed
from hecore.algorithms.errors import ConfigurationError, DataChanged
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.job.home import Home
from hecore.algorithms.settings_file import changes

#: The keys of [data] that the ids follow from; the rows follow from all of them.
OF_IDS = ("data.file", "data.id")


@contextmanager
def naming_what_changed(job: JobFile, home: Home, step: Literal["align", "train"]) -> Iterator[None]:
    """In place of DataChanged: ConfigurationError naming keys of [data] that are not as they were.

    TableError naming the file where they are. Both say what can be done.
    """
    now = {f"data.{key}": value for key, value in msgspec.to_builtins(job.data).items()}
    if step == "align":
        now = {key: now[key] for key in OF_IDS}
    before = home.first_settings(step, now)
    anew = f"hecore party run {job.path} --anew"
    with naming_changed(job.data.file, "job", anew):
        try:
            yield
        except DataChanged as error:
            if told := changes(before, now):
                raise ConfigurationError(
                    f"{told}: set it back, or begin anew at all parties ({anew})"
                ) from error
            raise
