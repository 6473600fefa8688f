"""Is the result right? Each case asks before its clock starts.

Results are compared with the same computation on plain Python integers. Decrypting every element of a large
result would take longer than the benchmark, so a sample is decrypted one by one, and the encrypted sum over
all elements answers for the rest: a single wrong element changes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hecore import HecoreError

from .subjects import Integers, Pace, Subject

#: Elements decrypted one by one.
SAMPLES: dict[Pace, int] = {"slow": 32, "fast": 256, "device": 4096}


class WrongResult(HecoreError, AssertionError):
    """A measured operation gave a wrong result: its speed means nothing."""


def check_equal(got: Any, expected: Any, what: str = "results") -> None:
    """WrongResult unless two arrays of integers are the same, ignoring their shapes."""
    left, right = as_objects(got), as_objects(expected)
    if left.size != right.size:
        raise WrongResult(f"{left.size} {what}, but {right.size} expected")
    wrong = np.flatnonzero(left != right)
    if wrong.size:
        place = int(wrong[0])
        raise WrongResult(
            f"{wrong.size} of {left.size} {what} wrong, the first at {place}:"
            f" {left[place]} instead of {right[place]}"
        )


def check_cipher(subject: Subject, cipher: Any, expected: Integers) -> None:
    """WrongResult unless one-dimensional `cipher` decrypts to `expected`: a sample, and the sum of all."""
    count, sample = subject.size(cipher), SAMPLES[subject.pace]
    if count != expected.size:
        raise WrongResult(f"{count} results, but {expected.size} expected")
    if count > sample:
        total = as_objects(expected).sum()
        check_equal(subject.decrypt(subject.total(cipher)), total, "sums over all results")
        inner = np.random.default_rng(count).choice(count - 2, sample - 2, replace=False) + 1
        places = np.concatenate([[0], np.sort(inner), [count - 1]]).astype(np.int64)
        cipher, expected = subject.take(cipher, places), expected[places]
    check_equal(subject.decrypt(cipher), expected)


def check_noise(subject: Subject, cipher: Any) -> None:
    """WrongResult if two ciphertexts are equal: with equal plaintexts that means shared noise."""
    marks = subject.marks(cipher)
    distinct = np.unique(marks).size
    if distinct != marks.size:
        raise WrongResult(f"only {distinct} of {marks.size} ciphertexts have noise of their own")


def as_objects(values: Any) -> Integers:
    """A flat object array of Python integers, from an array, a list or one number."""
    if isinstance(values, list):
        out = np.empty(len(values), dtype=object)
        out[:] = values
        return out
    return np.asarray(values).astype(object).ravel()
