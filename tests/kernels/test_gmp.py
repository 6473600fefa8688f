"""What is special to gmpy2: its threads, and its comb tables. The rest is in test_backend."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from hecore.kernels import Modulus, NotInvertible, Residues, gmp
from hecore.kernels import limbs as lb
from hecore.kernels import threads as kernel_threads
from hecore.kernels.combs import CACHED_COMBS
from hecore.kernels.gmp import POWERS_WORTH_A_COMB, PRODUCTS_WORTH_A_THREAD, GmpBackend

ROOT = Modulus(2**127 - 1)
SQUARE = Modulus.square_of(ROOT)
#: Enough for every operation to be worth two threads, and not a multiple of anything.
COUNT = 2 * PRODUCTS_WORTH_A_THREAD + 37


@pytest.fixture
def threaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], GmpBackend]]:
    """A backend with so many threads."""
    made: list[GmpBackend] = []

    def make(threads: int) -> GmpBackend:
        monkeypatch.setenv("HECORE_THREADS", str(threads))
        made.append(GmpBackend())
        return made[-1]

    yield make
    for backend in made:
        backend._workers.pool.shutdown()


def units(count: int) -> list[int]:
    """Prime to the modulus: it is the square of a prime, and they are smaller than that prime."""
    rng = random.Random(count)
    return [rng.randrange(1, ROOT.value) for _ in range(count)]


def every_operation(backend: GmpBackend) -> dict[str, list[int]]:
    values = units(COUNT)
    x, y = backend.from_ints(SQUARE, values), backend.from_ints(SQUARE, values[::-1])
    m = backend.from_ints(ROOT, values)
    exponents = lb.from_ints([v >> 60 for v in values], 2)
    order = np.random.default_rng(1).integers(0, COUNT, 5 * COUNT)
    offsets = np.array([0, 0, 3, 4 * COUNT, 4 * COUNT, 4 * COUNT + 1, 5 * COUNT])  # one huge
    even = np.arange(0, 5 * COUNT + 1, 5)
    comb = backend.fixed_base(SQUARE, 3, 128)
    matrix = lb.from_int64(np.random.default_rng(2).integers(-999, 999, 3 * COUNT)).reshape(3, COUNT, 1)
    batches: dict[str, Residues] = {
        "mod_mul": backend.mod_mul(x, y),
        "mod_pow": backend.mod_pow(x, 2**64 + 5),
        "mod_pow rows": backend.mod_pow(x, exponents),
        "mod_inv": backend.mod_inv(x),
        "fixed_base": comb.pow(exponents),
        "mul_one_plus": backend.mul_one_plus(x, m),
        "one huge segment": backend.segment_product(x, order, offsets),
        "many segments": backend.segment_product(x, order, even),
        "matvec_exp": backend.matvec_exp(matrix, x),
    }
    return {name: backend.to_ints(batch) for name, batch in batches.items()}


def test_threads_change_nothing(threaded: Callable[[int], GmpBackend]) -> None:
    one = every_operation(threaded(1))
    for threads in (2, 3):
        assert every_operation(threaded(threads)) == one


def test_work_is_split_among_the_threads(
    threaded: Callable[[int], GmpBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[int] = []

    class Pool(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            parts.append(args[2] - args[1])
            return super().submit(*args, **kwargs)

    monkeypatch.setattr(kernel_threads, "ThreadPoolExecutor", Pool)
    backend = threaded(2)
    x = backend.from_ints(SQUARE, units(COUNT))
    backend.mod_mul(x, x)
    assert sorted(parts) == [COUNT // 2, COUNT - COUNT // 2]
    parts.clear()
    backend.segment_product(x, np.arange(COUNT), np.array([0, COUNT]))
    assert len(parts) == 2
    parts.clear()
    small = backend.from_ints(SQUARE, units(10))
    backend.mod_mul(small, small)
    threaded(1).mod_mul(x, x)
    assert parts == []


@pytest.mark.parametrize("places", [(COUNT - 1,), (COUNT // 2 + 9, COUNT - 1), (7, COUNT - 2)])
def test_failing_inverse_is_named_across_threads(
    threaded: Callable[[int], GmpBackend], places: tuple[int, ...]
) -> None:
    values = [ROOT.value if i in places else v for i, v in enumerate(units(COUNT))]
    for threads in (1, 2, 3):
        backend = threaded(threads)
        with pytest.raises(NotInvertible) as caught:
            backend.mod_inv(backend.from_ints(SQUARE, values))
        assert caught.value.index == places[0]


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", " 2", "²"])
def test_wrong_number_of_threads(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HECORE_THREADS", text)
    with pytest.raises(ValueError, match="HECORE_THREADS"):
        GmpBackend()


def test_combs_used_last_are_kept() -> None:
    backend = GmpBackend()
    first = backend.fixed_base(SQUARE, 3, 64)
    for base in range(5, 5 + CACHED_COMBS - 1):
        backend.fixed_base(SQUARE, base, 64)
    assert backend.fixed_base(SQUARE, 3, 64) is first  # now base 5 is the oldest
    backend.fixed_base(SQUARE, 1000, 64)
    assert backend.fixed_base(SQUARE, 3, 64) is first
    fifth = backend.fixed_base(SQUARE, 5, 64)
    assert backend.fixed_base(SQUARE, 5, 64) is fifth
    assert len(backend._combs) == CACHED_COMBS


def test_a_table_is_built_only_for_many_powers() -> None:
    comb = GmpBackend().fixed_base(SQUARE, 3, 256)
    assert isinstance(comb, gmp.GmpFixedBase)
    few = POWERS_WORTH_A_COMB - 1
    comb.pow(lb.from_ints(range(few), 4))
    assert comb._table == []
    comb.pow(lb.from_ints([2**16], 4))
    assert len(comb._table) == 3  # bytes of the longest exponent so far
    comb.pow(lb.from_ints([1], 4))
    assert len(comb._table) == 3
