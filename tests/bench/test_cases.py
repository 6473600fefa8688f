"""Every case: its check passes on right results and fails on wrong ones, for hecore and for phe."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import hecore
from hecore import CipherBatch, FixedPoint, PrivateKey
from hecore.bench import cases
from hecore.bench.cases import GROUPS, HEADLINE, Case, UnknownCase, all_cases, select
from hecore.bench.checks import SAMPLES, WrongResult, check_cipher, check_equal, check_noise
from hecore.bench.peers import make_peer
from hecore.bench.runner import BACKENDS
from hecore.bench.subjects import HecoreSubject, Subject
from hecore.kernels import Residues

#: More than a slow subject's sample, so that the sum over all results has to find the fault.
BATCH = 40
CASES = {case.name: case for case in all_cases()}
PAIRS = [
    (case.name, subject)
    for subject in ("gmp", "phe")
    for case in all_cases()
    if subject == "gmp" or not (case.own or case.name == "encrypt-uniform")
]


def tampered(result: Any, subject: Subject) -> Any:
    """`result` with its last element changed."""
    match result:
        case bytes():
            size = 2 * subject.key_bits // 8
            return result[:-size] + result[-2 * size : -size]
        case CipherBatch():
            return result + last_of(np.zeros(result.shape, dtype=np.int64), 1)
        case FixedPoint():
            return result + hecore.encode(last_of(np.zeros(result.shape), 1e-9))
        case Residues() if isinstance(subject, HecoreSubject):
            return subject.backend.gather(result, np.arange(len(result))[::-1].copy())
        case [PrivateKey()]:
            return [hecore.generate_key(384, insecure_test_key=True)]
        case [(_, _)]:
            return [make_peer(subject.name, 384).new_key()]
        case list():
            return [*result[:-1], result[0]]
        case np.ndarray():
            return last_of(result.copy(), result.ravel()[-1] + 1)
        case _:  # one encrypted number of phe
            return result + 1


def last_of(array: Any, value: Any) -> Any:
    array[(-1,) * array.ndim] = value
    return array


@pytest.mark.parametrize(("name", "subject_name"), PAIRS)
def test_a_right_result_passes_and_a_wrong_one_does_not(
    name: str, subject_name: str, subjects: dict[str, Subject]
) -> None:
    subject, case = subjects[subject_name], CASES[name]
    assert case.suits(subject)
    work = case.prepare(subject, 1 if name == "keygen" else BATCH)
    result = work.run()
    work.check(result)
    assert work.items >= 1
    with pytest.raises(WrongResult):
        work.check(tampered(result, subject))


@pytest.mark.parametrize("name", [case.name for case in all_cases()])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_odd_batches(name: str, batch: int, mine: HecoreSubject) -> None:
    if name == "keygen" and batch > 1:
        pytest.skip("keys take their time")
    work = CASES[name].prepare(mine, batch)
    work.check(work.run())


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_on_other_backends(backend: str, key: PrivateKey) -> None:
    try:
        subject = HecoreSubject(key, hecore.get_backend(backend))
    except hecore.BackendUnavailable as error:
        pytest.skip(str(error))
    for case in all_cases():
        if case.uses_backend:
            work = case.prepare(subject, 9)
            work.check(work.run())


# --- faults that a look at the numbers would not find ----------------------------------------------


@pytest.mark.parametrize("kind", ["owner", "public", "uniform", "classic"])
def test_shared_noise_is_found(kind: str, mine: HecoreSubject) -> None:
    work = CASES[f"encrypt-{kind}"].prepare(mine, 8)
    fresh = work.run()
    repeated = fresh[np.array([0, 1, 2, 3, 0, 1, 2, 3])]  # every value stands twice: right, but not secure
    np.testing.assert_array_equal(mine.decrypt(repeated), mine.decrypt(fresh))
    with pytest.raises(WrongResult, match="only 4 of 8 ciphertexts have noise of their own"):
        work.check(repeated)


def test_noise_that_stays_is_found(mine: HecoreSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CipherBatch, "rerandomize", lambda self: self)
    work = CASES["rerandomize"].prepare(mine, 4)
    with pytest.raises(WrongResult, match="kept its noise"):
        work.check(work.run())


def test_missing_validation_is_found(mine: HecoreSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hecore.wire.validate", lambda *_: None)
    work = CASES["from-bytes"].prepare(mine, 4)
    with pytest.raises(WrongResult, match="a ciphertext of 0 was accepted"):
        work.check(work.run())


def test_a_fresh_batch_must_not_be_rerandomised(mine: HecoreSubject) -> None:
    work = CASES["to-bytes"].prepare(mine, 4)
    batch = CipherBatch.from_bytes(work.run(), mine.key.public, mine.backend)
    with pytest.raises(WrongResult, match="changed on their way"):
        work.check(batch.rerandomize().to_bytes())


def test_a_batch_that_is_not_packed_is_found(mine: HecoreSubject) -> None:
    work = CASES["encrypt-packed"].prepare(mine, 4)
    values = mine.decrypt(work.run())
    with pytest.raises(WrongResult, match="numbers of ciphertexts"):
        work.check(mine.encrypt(values))


def test_a_key_of_another_length_is_found(mine: HecoreSubject) -> None:
    with pytest.raises(WrongResult, match="lengths wrong"):
        CASES["keygen"].prepare(mine, 1).check([hecore.generate_key(384, insecure_test_key=True)])
    with pytest.raises(WrongResult, match="0 keys, but 1 expected"):
        CASES["keygen"].prepare(mine, 1).check([])


@pytest.mark.parametrize("wrong", [np.nan, 1e9])
def test_wrong_floats_are_found(wrong: float, mine: HecoreSubject) -> None:
    work = CASES["decode"].prepare(mine, 3)
    with pytest.raises(WrongResult, match="off by"):
        work.check(last_of(work.run(), wrong))
    with pytest.raises(WrongResult, match="shape"):
        work.check(work.run()[1:])


def test_every_place_of_a_large_result_is_checked(mine: HecoreSubject) -> None:
    values = np.arange(2 * SAMPLES["slow"])
    batch = mine.encrypt(values)
    check_cipher(mine, batch, values)
    for place in range(0, len(values), 5):
        with pytest.raises(WrongResult):
            check_cipher(mine, batch + (np.arange(len(values)) == place).astype(np.int64), values)
    with pytest.raises(WrongResult, match="64 results, but 63 expected"):
        check_cipher(mine, batch, values[:-1])


def test_equal_numbers_of_any_type() -> None:
    check_equal(np.array([1, -2]), [1, -2])
    check_equal(np.int64(3), 3)
    check_equal([1 << 70], np.array([1 << 70], dtype=object))
    with pytest.raises(WrongResult, match="2 of 3 results wrong, the first at 1: 5 instead of 2"):
        check_equal([1, 5, 6], [1, 2, 3])
    with pytest.raises(WrongResult, match="1 results, but 2 expected"):
        check_equal([1], [1, 2])


def test_distinct_noise_passes(mine: HecoreSubject) -> None:
    check_noise(mine, mine.encrypt(np.zeros(9, dtype=np.int64)))


# --- choice and numbers ---------------------------------------------------------------------------


def test_names_are_unique_and_groups_known() -> None:
    assert len(CASES) == len(all_cases())
    assert not set(CASES) & {*GROUPS, HEADLINE}
    assert [case.group for case in all_cases()] == sorted(
        (case.group for case in all_cases()), key=list(GROUPS).index
    )
    assert {case.group for case in all_cases()} == set(GROUPS)


def test_select() -> None:
    assert select([]) == list(all_cases())
    assert [case.name for case in select(["sum", "add"])] == ["add", "sum"]
    assert {case.group for case in select(["wire"])} == {"wire"}
    assert [case.name for case in select([HEADLINE])] == [case.name for case in all_cases() if case.headline]
    assert {"encrypt-owner", "encrypt-public", "decrypt", "add"} <= {c.name for c in select([HEADLINE])}
    with pytest.raises(UnknownCase, match="'decode_all', 'subtract'"):
        select(["subtract", "decode_all", "add"])


def test_own_cases_are_not_for_peers(subjects: dict[str, Subject]) -> None:
    own = [case for case in all_cases() if case.own]
    assert own
    for case in own:
        assert not case.suits(subjects["phe"])
        with pytest.raises(TypeError, match="measures hecore only, not phe"):
            case.prepare(subjects["phe"], 2)


def test_batches_by_pace() -> None:
    for case in all_cases():
        sizes = [case.batch.for_pace(pace) for pace in ("slow", "fast", "device")]
        assert all(0 < a <= b for a, b in pairwise(sizes)), case.name


def test_numbers_repeat_and_fit() -> None:
    np.testing.assert_array_equal(cases.draw_values(9), cases.draw_values(9))
    assert (cases.draw_values(5) != cases.draw_values(6)[:5]).any()
    assert np.abs(cases.draw_values(1000, 3)).max() == 7
    twice = cases.draw_twice(7)
    np.testing.assert_array_equal(twice[:3], twice[4:])
    wide = cases.draw_wide(50, 101)
    assert {value.bit_length() for value in wide} == {101}
    assert len(set(wide)) == 50


def test_derived_ciphertexts_are_right_and_fill_the_batch(mine: HecoreSubject) -> None:
    cipher, values = cases.derived(mine, 300)
    assert len(cipher) == 300
    places = np.array([0, 127, 128, 299])
    np.testing.assert_array_equal(mine.decrypt(cipher[places]), values[places])
    assert np.unique(mine.marks(cipher)).size > 200  # a + b and b + a are one ciphertext in two places


def test_a_case_is_a_value() -> None:
    case = all_cases()[0]
    assert isinstance(case, Case)
    assert replace(case, name="other").unit == GROUPS[case.group]
