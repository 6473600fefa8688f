"""The contract of every backend: one body for all, results and exceptions, against Python integers."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import gcd

import numpy as np
import pytest
from numpy.typing import NDArray

from hecore.kernels import Backend, HecoreError, Modulus, NotInvertible, Residues
from hecore.kernels import limbs as lb

Sample = Callable[..., list[int]]
Edges = Callable[[Modulus], list[int]]

COUNTS = [0, 1, 2, 7, 64, 1000]
#: Coprime pairs (p, q) of all sizes, either one the larger.
M61, M89, M127, M521, M607 = (2**k - 1 for k in (61, 89, 127, 521, 607))
COPRIME = [(3, 5), (77, 15), (M61, M89), (M89, M61), (M61**2, M127**2), (M521, M607), (M607**2, M521**2)]


def indices(values: list[int] | range) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def assert_batch(backend: Backend, batch: Residues, modulus: Modulus, expected: list[int]) -> None:
    """Equal integers, canonical, modulo the modulus that was asked for and all it knows."""
    assert batch.modulus == modulus
    assert len(batch) == len(expected)
    limbs = backend.to_limbs(batch)
    assert limbs.dtype == lb.LIMB_DTYPE
    assert limbs.shape == (len(expected), modulus.width)
    assert lb.to_ints(limbs) == expected


# --- host form ---


def test_host_forms(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    for count in COUNTS:
        values = sample(modulus, count)
        data = b"".join(value.to_bytes(modulus.nbytes, "little") for value in values)
        batch = backend.from_ints(modulus, iter(values))
        assert_batch(backend, batch, modulus, values)
        assert backend.to_ints(batch) == values
        assert backend.to_bytes(batch) == data
        assert_batch(
            backend, backend.from_limbs(modulus, lb.from_bytes(data, modulus.width)), modulus, values
        )
        for kind in (bytes, bytearray, memoryview):
            assert_batch(backend, backend.from_bytes(modulus, kind(data)), modulus, values)


def test_import_takes_any_memory_layout(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    values = sample(modulus, 20)
    limbs = lb.from_ints(values, modulus.width)
    wide = np.repeat(limbs, 2, axis=1)[:, ::2]
    for view, expected in (
        (limbs[::-3], values[::-3]),
        (np.asfortranarray(limbs), values),
        (wide, values),
    ):
        assert_batch(backend, backend.from_limbs(modulus, view), modulus, expected)


def test_batches_do_not_share_memory_with_the_host(
    backend: Backend, modulus: Modulus, sample: Sample
) -> None:
    values = sample(modulus, 7)
    limbs = lb.from_ints(values, modulus.width).copy()
    data = bytearray(limbs.tobytes())
    batches = [backend.from_limbs(modulus, limbs), backend.from_bytes(modulus, data)]
    limbs[:] = 0
    data[:] = bytes(len(data))
    for batch in batches:
        out = backend.to_limbs(batch)
        if out.flags.writeable:
            out[:] = 0
        assert_batch(backend, batch, modulus, values)


def test_import_refuses_what_is_not_canonical(backend: Backend, modulus: Modulus) -> None:
    good = [0, 1, modulus.value - 1]
    top = (1 << (64 * modulus.width)) - 1
    for bad in {modulus.value, min(modulus.value + 1, top), top}:
        limbs = lb.from_ints([*good, bad, 0, bad], modulus.width)
        with pytest.raises(ValueError, match=r"element 3\b"):
            backend.from_limbs(modulus, limbs)
        with pytest.raises(ValueError, match=r"element 3\b"):
            backend.from_bytes(modulus, limbs.tobytes())
        with pytest.raises(ValueError, match=r"element 0\b"):
            backend.from_ints(modulus, [bad])
    with pytest.raises(OverflowError):
        backend.from_ints(modulus, [-1])
    with pytest.raises(OverflowError):
        backend.from_ints(modulus, [top + 1])
    with pytest.raises(ValueError, match="width"):
        backend.from_limbs(modulus, lb.from_ints(good, modulus.width + 1))
    with pytest.raises(ValueError, match=r"multiple|reshape"):
        backend.from_bytes(modulus, bytes(modulus.nbytes + 1))


def test_signed_import_and_export(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    m = modulus.value
    for count in COUNTS:
        values = [v if i % 2 else -v for i, v in enumerate(sample(modulus, count))]
        batch = backend.from_signed(modulus, lb.from_signed_ints(values, modulus.width + 1))
        assert_batch(backend, batch, modulus, [v % m for v in values])
        lifted = backend.to_signed(batch)
        assert lifted.dtype == lb.LIMB_DTYPE
        assert lifted.shape == (count, modulus.width)
        assert lb.to_signed_ints(lifted) == [(v + m // 2) % m - m // 2 for v in values]


def test_signed_import_of_any_width(backend: Backend, modulus: Modulus) -> None:
    m = modulus.value
    for width in {1, 2, modulus.width, modulus.width + 3}:
        top = min(m - 1, (1 << (64 * width - 1)) - 1)
        values = [0, 1, -1, top, -top, top // 3, -(top // 3)]
        batch = backend.from_signed(modulus, lb.from_signed_ints(values, width))
        assert_batch(backend, batch, modulus, [v % m for v in values])


def test_int64_extremes(backend: Backend) -> None:
    modulus = Modulus(M89)
    array = np.array([-(2**63), 2**63 - 1, -1, 0], dtype=np.int64)
    batch = backend.from_signed(modulus, lb.from_int64(array))
    assert_batch(backend, batch, modulus, [M89 - 2**63, 2**63 - 1, M89 - 1, 0])


def test_signed_import_refuses_the_modulus(backend: Backend, modulus: Modulus) -> None:
    for bad in (modulus.value, -modulus.value, modulus.value + 1, -(1 << (64 * modulus.width + 63))):
        limbs = lb.from_signed_ints([0, modulus.value - 1, bad, bad], modulus.width + 1)
        with pytest.raises(ValueError, match=r"element 2\b"):
            backend.from_signed(modulus, limbs)


# --- element-wise ---


def test_products_of_all_edges(backend: Backend, modulus: Modulus, edges: Edges) -> None:
    values = edges(modulus)
    left = [x for x in values for _ in values]
    right = values * len(values)
    a, b = backend.from_ints(modulus, left), backend.from_ints(modulus, right)
    want = [x * y % modulus.value for x, y in zip(left, right, strict=True)]
    assert_batch(backend, backend.mod_mul(a, b), modulus, want)


@pytest.mark.parametrize("root", [3, 5, 15])
def test_all_products_modulo_tiny_numbers(backend: Backend, root: int) -> None:
    """Zero divisors meet in every way: a digit that is a multiple of the root must come out as 0."""
    for modulus in (Modulus(root), Modulus(root**2), Modulus.square_of(Modulus(root))):
        m = modulus.value
        left, right = np.divmod(np.arange(m * m), m)
        a, b = backend.from_ints(modulus, left.tolist()), backend.from_ints(modulus, right.tolist())
        assert_batch(backend, backend.mod_mul(a, b), modulus, (left * right % m).tolist())


def test_products(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    for count in COUNTS:
        left, right = sample(modulus, count, 1), sample(modulus, count, 2)
        a, b = backend.from_ints(modulus, left), backend.from_ints(modulus, right)
        want = [x * y % modulus.value for x, y in zip(left, right, strict=True)]
        assert_batch(backend, backend.mod_mul(a, b), modulus, want)
        assert_batch(backend, backend.mod_mul(a, a), modulus, [x * x % modulus.value for x in left])


def test_product_broadcasts_a_batch_of_one(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    (factor,) = sample(modulus, 1, 3)
    one = backend.from_ints(modulus, [factor])
    for count in COUNTS:
        values = sample(modulus, count)
        batch = backend.from_ints(modulus, values)
        want = [x * factor % modulus.value for x in values]
        assert_batch(backend, backend.mod_mul(batch, one), modulus, want)
        assert_batch(backend, backend.mod_mul(one, batch), modulus, want)


def test_products_at_indices(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    left, right = sample(modulus, 20, 1), sample(modulus, 7, 2)
    a, b = backend.from_ints(modulus, left), backend.from_ints(modulus, right)
    for i, j in (([], []), ([0, 19, 19, 5, 7], [6, 0, 6, 3, 3]), ([3], [0, 1, 2]), ([4, 5], [6])):
        pairs = np.broadcast(np.array(i, dtype=int), np.array(j, dtype=int))
        want = [left[first] * right[second] % modulus.value for first, second in pairs]
        assert_batch(backend, backend.mod_mul_at(a, indices(i), b, indices(j)), modulus, want)
    for i, j in (([20], [0]), ([0], [7]), ([-1], [0]), ([0, 1], [0, 1, 2])):
        with pytest.raises(ValueError, match=r"index|combined"):
            backend.mod_mul_at(a, indices(i), b, indices(j))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 15, 2**16, 2**17 - 1, 2**64, 2**64 - 1, 2**65 + 1])
def test_powers_by_one_exponent(backend: Backend, modulus: Modulus, sample: Sample, exponent: int) -> None:
    for count in (0, 1, 7):
        values = sample(modulus, count)
        got = backend.mod_pow(backend.from_ints(modulus, values), exponent)
        assert_batch(backend, got, modulus, [pow(x, exponent, modulus.value) for x in values])


def test_long_exponents(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    """As long as the modulus, up to 1024 bits: one for all, and one a row."""
    bits = min(modulus.bits, 1024)
    exponents = [2**bits - 1, 2 ** (bits - 1), random.Random(bits).getrandbits(bits)]
    values = sample(modulus, 3)
    batch = backend.from_ints(modulus, values)
    want = [pow(x, e, modulus.value) for x, e in zip(values, exponents, strict=True)]
    got = backend.mod_pow(batch, lb.from_ints(exponents, lb.width_for_bits(bits)))
    assert_batch(backend, got, modulus, want)
    one = backend.gather(batch, indices([2]))
    assert_batch(backend, backend.mod_pow(one, exponents[2]), modulus, want[2:])


def test_powers_by_an_exponent_a_row(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    """Exponents of mixed lengths, in arrays wider than they need, strided."""
    rng = random.Random(7)
    for count in (0, 1, 2, 7, 64):
        values = sample(modulus, count)
        exponents = [rng.getrandbits(rng.choice([0, 1, 2, 5, 8, 31, 64, 70])) for _ in range(count)]
        exponents[:3] = [0, 1, 2**64][:count]
        for width in (2, 4):
            limbs = np.repeat(lb.from_ints(exponents, width), 2, axis=0)[::2]
            got = backend.mod_pow(backend.from_ints(modulus, values), limbs)
            want = [pow(x, e, modulus.value) for x, e in zip(values, exponents, strict=True)]
            assert_batch(backend, got, modulus, want)


def test_power_of_zero(backend: Backend, modulus: Modulus) -> None:
    zero = backend.from_ints(modulus, [0])
    assert_batch(backend, backend.mod_pow(zero, 0), modulus, [1])
    got = backend.mod_pow(zero, lb.from_ints([0, 1, 2**64], 2))
    assert_batch(backend, got, modulus, [1, 0, 0])


def test_powers_broadcast(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    values, m = sample(modulus, 7), modulus.value
    batch = backend.from_ints(modulus, values)
    got = backend.mod_pow(batch, lb.from_ints([21], 1))
    assert_batch(backend, got, modulus, [pow(x, 21, m) for x in values])
    one = backend.from_ints(modulus, values[:1])
    got = backend.mod_pow(one, lb.from_ints(range(5), 1))
    assert_batch(backend, got, modulus, [pow(values[0], e, m) for e in range(5)])
    assert_batch(backend, backend.mod_pow(one, lb.from_ints([], 1)), modulus, [])


def test_negative_exponent(backend: Backend) -> None:
    batch = backend.from_ints(Modulus(15), [2])
    with pytest.raises(ValueError, match="negative"):
        backend.mod_pow(batch, -1)


def test_inverses(backend: Backend, modulus: Modulus, units: Sample) -> None:
    for count in COUNTS if modulus.bits < 2048 else COUNTS[:-1]:
        values = units(modulus, count)
        got = backend.mod_inv(backend.from_ints(modulus, values))
        assert_batch(backend, got, modulus, [pow(x, -1, modulus.value) for x in values])


@pytest.mark.parametrize("bad", [0, 3, 10, M61, 15 * M61 - M61])
@pytest.mark.parametrize("places", [(0,), (6,), (4, 2), (0, 1, 2, 3, 4, 5, 6)])
def test_inverse_names_the_first_that_has_none(backend: Backend, bad: int, places: tuple[int, ...]) -> None:
    modulus = Modulus(15 * M61)
    values = [bad if i in places else 2**i for i in range(7)]
    with pytest.raises(NotInvertible, match=f"element {min(places)} of the batch") as caught:
        backend.mod_inv(backend.from_ints(modulus, values))
    assert caught.value.index == min(places)
    assert isinstance(caught.value, HecoreError)
    assert isinstance(caught.value, ValueError)


def test_inverse_where_only_the_product_is_zero(backend: Backend) -> None:
    """3 and 5 each share a factor with 15; the first is named, although their product is 0."""
    with pytest.raises(NotInvertible) as caught:
        backend.mod_inv(backend.from_ints(Modulus(15), [1, 5, 3]))
    assert caught.value.index == 1


def test_fixed_base(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    """Few powers and many, short exponents before long ones: a table may grow on the way."""
    m, max_bits = modulus.value, 70
    for base in {0, 1, m - 1, *sample(modulus, 1, 4)}:
        comb = backend.fixed_base(modulus, base, max_bits)
        rng = random.Random(8)
        for count, bits in ((0, 64), (1, 8), (7, 70), (64, 9), (64, 65), (2, 70), (30, 1)):
            exponents = [rng.getrandbits(bits) for _ in range(count)]
            exponents[:4] = [0, 1, 2**bits - 1, 2 ** (bits - 1)][:count]
            got = comb.pow(lb.from_ints(exponents, 3))
            assert_batch(backend, got, modulus, [pow(base, e, m) for e in exponents])


@pytest.mark.parametrize("max_bits", [1, 8, 9, 63, 64, 65, 200])
def test_fixed_base_limits_its_exponents(backend: Backend, max_bits: int) -> None:
    modulus = Modulus(M127)
    comb = backend.fixed_base(modulus, 3, max_bits)
    exponents = [0, 2**max_bits - 1, 1] * 20
    want = [pow(3, e, M127) for e in exponents]
    for width in (lb.width_for_bits(max_bits), 5):
        assert_batch(backend, comb.pow(lb.from_ints(exponents, width)), modulus, want)
        with pytest.raises(ValueError, match=f"more than {max_bits} bits"):
            comb.pow(lb.from_ints([0, 2**max_bits], max(width, lb.width_for_bits(max_bits + 1))))


def test_fixed_base_is_cached_by_its_arguments(backend: Backend) -> None:
    square = Modulus.square_of(Modulus(M61))
    comb = backend.fixed_base(square, 3, 64)
    assert backend.fixed_base(Modulus.square_of(Modulus(M61)), 3, 64) is comb
    for other in ((square, 5, 64), (square, 3, 65), (Modulus(M61), 3, 64)):
        assert backend.fixed_base(*other) is not comb
    plain = backend.fixed_base(Modulus(M61**2), 3, 64)  # its batches do not know the root
    assert plain.pow(lb.from_ints([2], 1)).modulus.root is None
    assert backend.to_ints(backend.high_digit(comb.pow(lb.from_ints([2**63], 1)))) == [
        pow(3, 2**63, M61**2) // M61
    ]


# --- modulo root², modulo p·q ---


def test_one_plus(backend: Backend, square: Modulus, sample: Sample) -> None:
    assert square.root is not None
    r = square.root.value
    for count in COUNTS:
        messages = sample(square.root, count, 5)
        values = sample(square, count, 6)
        m, x = backend.from_ints(square.root, messages), backend.from_ints(square, values)
        assert_batch(backend, backend.one_plus(square, m), square, [1 + v * r for v in messages])
        want = [v * (1 + k * r) % square.value for v, k in zip(values, messages, strict=True)]
        assert_batch(backend, backend.mul_one_plus(x, m), square, want)


def test_mul_one_plus_of_edges_and_broadcast(backend: Backend, square: Modulus, edges: Edges) -> None:
    assert square.root is not None
    r = square.root.value
    values = edges(square)
    x = backend.from_ints(square, values)
    for k in edges(square.root):
        got = backend.mul_one_plus(x, backend.from_ints(square.root, [k]))
        assert_batch(backend, got, square, [v * (1 + k * r) % square.value for v in values])
    messages = edges(square.root)
    one = backend.from_ints(square, [values[-1]])
    got = backend.mul_one_plus(one, backend.from_ints(square.root, messages))
    assert_batch(backend, got, square, [values[-1] * (1 + k * r) % square.value for k in messages])


def test_high_digit_and_reduction_to_the_root(
    backend: Backend, square: Modulus, edges: Edges, sample: Sample
) -> None:
    assert square.root is not None
    r = square.root.value
    ones = [1 + k * r for k in sample(square.root, 20)]  # where it is Paillier's L
    for values in ([], edges(square), sample(square, 64), ones):
        x = backend.from_ints(square, values)
        assert_batch(backend, backend.high_digit(x), square.root, [v // r for v in values])
        assert_batch(backend, backend.reduce(x, square.root), square.root, [v % r for v in values])


@pytest.mark.parametrize(("p", "q"), COPRIME)
def test_reduce_and_combine(backend: Backend, p: int, q: int, edges: Edges, sample: Sample) -> None:
    """Modulo p·q with an unknown root, and modulo p²·q² = (p·q)² with a known one."""
    moduli = [(Modulus(p), Modulus(q), Modulus(p * q))]
    moduli.append(tuple(Modulus.square_of(m) for m in moduli[0]))  # type: ignore[arg-type]
    for left, right, target in moduli:
        for values in ([], edges(target), sample(target, 64)):
            x = backend.from_ints(target, values)
            a, b = backend.reduce(x, left), backend.reduce(x, right)
            assert_batch(backend, a, left, [v % left.value for v in values])
            assert_batch(backend, b, right, [v % right.value for v in values])
            assert_batch(backend, backend.crt_combine(a, b, target), target, values)


def test_combine_of_edges_and_broadcast(backend: Backend, edges: Edges) -> None:
    p, q = Modulus(M89), Modulus(M61)
    target = Modulus(M61 * M89)
    for x in edges(p):
        combined = backend.crt_combine(backend.from_ints(p, [x]), backend.from_ints(q, edges(q)), target)
        got = backend.to_ints(combined)
        assert [(v % M89, v % M61) for v in got] == [(x, y) for y in edges(q)]
        assert max(got) < target.value


# --- segments ---


def segment_products(values: list[int], m: int, places: list[int], offsets: list[int]) -> list[int]:
    out = []
    for first, last in pairwise(offsets):
        product = 1
        for place in places[first:last]:
            product = product * values[place] % m
        out.append(product)
    return out


@pytest.mark.parametrize(
    ("count", "lengths"),
    [
        (0, []),
        (0, [0, 0]),
        (1, [0]),
        (1, [1]),
        (2, [0, 1, 0, 0, 2, 0]),
        (7, [7]),
        (7, [1] * 7),
        (64, [0, 500, 1, 0, 30, 2, 0]),
        (64, [3, 0, 1, 0, 12, 1, 7] * 9),
        (1000, [1000, 0, 1]),
    ],
)
def test_segment_product(
    backend: Backend, modulus: Modulus, units: Sample, count: int, lengths: list[int]
) -> None:
    """Empty, single, repeated and huge segments, of rows in any order, some more than once."""
    values = units(modulus, count)
    rng = random.Random(count)
    places = [rng.randrange(count) for _ in range(sum(lengths))]
    offsets = np.cumsum([0, *lengths]).tolist()
    x = backend.from_ints(modulus, values)
    got = backend.segment_product(x, indices(places), indices(offsets))
    assert_batch(backend, got, modulus, segment_products(values, modulus.value, places, offsets))


def test_segments_with_zeros_and_edges(backend: Backend, modulus: Modulus, edges: Edges) -> None:
    values = edges(modulus)
    places = [i for i in range(len(values)) for _ in range(3)]
    offsets = list(range(0, len(places) + 1, 3))
    x = backend.from_ints(modulus, values)
    got = backend.segment_product(x, indices(places), indices(offsets))
    assert_batch(backend, got, modulus, [pow(v, 3, modulus.value) for v in values])


@pytest.mark.parametrize(
    ("places", "offsets"),
    [
        ([0, 3], [0, 2]),
        ([0, -1], [0, 2]),
        ([2**40], [0, 1]),
        ([0, 1], []),
        ([0, 1], [0]),
        ([0, 1], [0, 1]),
        ([0, 1], [0, 3]),
        ([0, 1], [1, 2]),
        ([0, 1], [-1, 2]),
        ([0, 1], [0, 2, 1, 2]),
        ([], [0, 1]),
    ],
)
def test_wrong_segments(backend: Backend, places: list[int], offsets: list[int]) -> None:
    x = backend.from_ints(Modulus(15), [1, 2, 4])
    with pytest.raises(ValueError, match=r"offsets|index"):
        backend.segment_product(x, indices(places), indices(offsets))


# --- movement ---


def test_gather(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    values = sample(modulus, 64)
    x = backend.from_ints(modulus, values)
    for places in ([], [63], [0, 0, 63, 1], range(63, -1, -1), [5] * 1000):
        assert_batch(backend, backend.gather(x, indices(places)), modulus, [values[i] for i in places])
    empty = backend.from_ints(modulus, [])
    assert_batch(backend, backend.gather(empty, indices([])), modulus, [])


@pytest.mark.parametrize(("count", "place"), [(3, 3), (3, -1), (3, -4), (3, 2**40), (0, 0), (0, -1)])
def test_gather_outside(backend: Backend, count: int, place: int) -> None:
    x = backend.from_ints(Modulus(15), range(count))
    with pytest.raises(ValueError, match="index"):
        backend.gather(x, indices([place]))


def test_concatenate(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    for counts in ([0], [7], [0, 0], [1, 0, 64, 2], [2, 1000]):
        lists = [sample(modulus, count) for count in counts]
        parts = [backend.from_ints(modulus, values) for values in lists]
        assert_batch(backend, backend.concatenate(parts), modulus, sum(lists, []))  # noqa: RUF017


def test_concatenate_nothing(backend: Backend) -> None:
    with pytest.raises(ValueError, match="nothing"):
        backend.concatenate([])


def test_select(backend: Backend, modulus: Modulus, sample: Sample) -> None:
    for count in COUNTS:
        left, right = sample(modulus, count, 1), sample(modulus, count, 2)
        a, b = backend.from_ints(modulus, left), backend.from_ints(modulus, right)
        mask = np.random.default_rng(count).random(count) < 0.5
        want = [x if take else y for take, x, y in zip(mask.tolist(), left, right, strict=True)]
        assert_batch(backend, backend.select(mask, a, b), modulus, want)
        one = backend.from_ints(modulus, [1])
        want = [1 if take else y for take, y in zip(mask.tolist(), right, strict=True)]
        assert_batch(backend, backend.select(mask, one, b), modulus, want)
        assert_batch(backend, backend.select(~mask, b, one), modulus, want)


# --- what all operations share ---


def test_results_are_operands(backend: Backend, square: Modulus, edges: Edges) -> None:
    """A chain of operations that stays on the backend: no result needs a round trip to be canonical."""
    assert square.root is not None
    m, r = square.value, square.root.value
    values = edges(square)
    x = backend.from_ints(square, values)
    digit = backend.high_digit(backend.mod_mul(x, x))
    y = backend.mul_one_plus(backend.mod_pow(x, 5), digit)
    y = backend.concatenate([y, backend.one_plus(square, backend.reduce(y, square.root))])
    y = backend.select(np.arange(len(y)) % 2 == 0, y, backend.mod_mul(y, y))
    turned = backend.gather(y, indices(range(len(y) - 1, -1, -1)))
    places, offsets = indices(range(len(y))), indices(range(0, len(y) + 1, 2))
    got = backend.segment_product(backend.mod_mul(y, turned), places, offsets)

    want = [pow(v, 5, m) * (1 + v * v % m // r * r) % m for v in values]
    want += [1 + v % r * r for v in want]
    want = [v if i % 2 == 0 else v * v % m for i, v in enumerate(want)]
    want = [a * b % m for a, b in zip(want, reversed(want), strict=True)]
    assert_batch(backend, got, square, [a * b % m for a, b in zip(want[::2], want[1::2], strict=True)])


class Foreign(Residues):
    """A batch that no backend made."""

    def __len__(self) -> int:
        return 2


SQUARE = Modulus.square_of(Modulus(15))
ROOT = Modulus(15)
COMBINED = Modulus(15 * 77)
#: Every operation on batches of two: x and y modulo 225, m modulo 15, s modulo 77.
OPERATIONS: dict[str, Callable[[Backend, Residues, Residues, Residues, Residues], object]] = {
    "to_limbs": lambda k, x, _y, _m, _s: k.to_limbs(x),
    "to_signed": lambda k, x, _y, _m, _s: k.to_signed(x),
    "to_ints": lambda k, x, _y, _m, _s: k.to_ints(x),
    "to_bytes": lambda k, x, _y, _m, _s: k.to_bytes(x),
    "mod_mul left": lambda k, x, y, _m, _s: k.mod_mul(x, y),
    "mod_mul right": lambda k, x, y, _m, _s: k.mod_mul(y, x),
    "mod_mul_at left": lambda k, x, y, _m, _s: k.mod_mul_at(x, indices([1, 0]), y, indices([0, 1])),
    "mod_mul_at right": lambda k, x, y, _m, _s: k.mod_mul_at(y, indices([1, 0]), x, indices([0, 1])),
    "mod_pow": lambda k, x, _y, _m, _s: k.mod_pow(x, 3),
    "mod_pow rows": lambda k, x, _y, _m, _s: k.mod_pow(x, lb.from_ints([2, 3], 1)),
    "mod_inv": lambda k, x, _y, _m, _s: k.mod_inv(x),
    "mul_one_plus": lambda k, x, _y, m, _s: k.mul_one_plus(x, m),
    "one_plus": lambda k, _x, _y, m, _s: k.one_plus(SQUARE, m),
    "high_digit": lambda k, x, _y, _m, _s: k.high_digit(x),
    "reduce": lambda k, x, _y, _m, _s: k.reduce(x, ROOT),
    "crt_combine left": lambda k, _x, _y, m, s: k.crt_combine(m, s, COMBINED),
    "crt_combine right": lambda k, _x, _y, m, s: k.crt_combine(s, m, COMBINED),
    "segment_product": lambda k, x, _y, _m, _s: k.segment_product(x, indices([0, 1]), indices([0, 2])),
    "matvec_exp": lambda k, x, _y, _m, _s: k.matvec_exp(np.full((3, 2, 1), 5, np.uint64), x),
    "matvec_exp of 0": lambda k, x, _y, _m, _s: k.matvec_exp(np.zeros((3, 2, 1), np.uint64), x),
    "gather": lambda k, x, _y, _m, _s: k.gather(x, indices([1, 0])),
    "concatenate": lambda k, x, y, _m, _s: k.concatenate([y, x]),
    "select left": lambda k, x, y, _m, _s: k.select(np.array([True, False]), x, y),
    "select right": lambda k, x, y, _m, _s: k.select(np.array([True, False]), y, x),
}


def four_batches(backend: Backend) -> list[Residues]:
    shapes = ((SQUARE, [2, 224]), (SQUARE, [16, 7]), (ROOT, [14, 1]), (Modulus(77), [3, 76]))
    return [backend.from_ints(modulus, values) for modulus, values in shapes]


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_foreign_batch_is_a_type_error(backend: Backend, name: str) -> None:
    x, y, m, s = four_batches(backend)
    if name in ("one_plus", "crt_combine left", "crt_combine right"):
        m = Foreign(ROOT)
    else:
        x = Foreign(SQUARE)
    with pytest.raises(TypeError, match="another backend"):
        OPERATIONS[name](backend, x, y, m, s)


def test_a_foreign_message_is_a_type_error(backend: Backend) -> None:
    with pytest.raises(TypeError, match="another backend"):
        backend.mul_one_plus(four_batches(backend)[0], Foreign(ROOT))


def test_operations_leave_their_operands_alone(backend: Backend) -> None:
    batches = four_batches(backend)
    before = [backend.to_ints(batch) for batch in batches]
    for operate in OPERATIONS.values():
        operate(backend, *batches)
        assert [backend.to_ints(batch) for batch in batches] == before


@pytest.mark.parametrize("other", [Modulus(225), Modulus(227), Modulus(15)], ids=repr)
def test_different_moduli(backend: Backend, other: Modulus) -> None:
    """225 without its root is another modulus than 15² that knows it."""
    a, b = backend.from_ints(SQUARE, [1, 2]), backend.from_ints(other, [1, 2])
    mask = np.array([True, False])
    for combine in (
        lambda: backend.mod_mul(a, b),
        lambda: backend.concatenate([a, a, b]),
        lambda: backend.select(mask, a, b),
    ):
        with pytest.raises(ValueError, match="different moduli"):
            combine()


def test_operations_that_need_the_root(backend: Backend) -> None:
    unknown, message = backend.from_ints(Modulus(225), [1]), backend.from_ints(Modulus(15), [1])
    with pytest.raises(ValueError, match="known root"):
        backend.high_digit(unknown)
    with pytest.raises(ValueError, match="root"):
        backend.mul_one_plus(unknown, message)
    for wrong in (Modulus(225), Modulus.square_of(Modulus(77))):
        with pytest.raises(ValueError, match="root"):
            backend.one_plus(wrong, message)


@pytest.mark.parametrize(("p", "q", "target"), [(3, 5, 21), (15, 15, 225), (15, 21, 315), (3, 5, 225)])
def test_moduli_that_do_not_combine(backend: Backend, p: int, q: int, target: int) -> None:
    assert p * q != target or gcd(p, q) > 1
    a, b = backend.from_ints(Modulus(p), [1]), backend.from_ints(Modulus(q), [1])
    with pytest.raises(ValueError, match=r"product of the two|share a factor"):
        backend.crt_combine(a, b, Modulus(target))


@pytest.mark.parametrize(("left", "right"), [(2, 3), (3, 2), (0, 2), (2, 0)])
def test_lengths_that_do_not_match(backend: Backend, left: int, right: int) -> None:
    a, b = backend.from_ints(SQUARE, range(left)), backend.from_ints(SQUARE, range(right))
    short = backend.from_ints(ROOT, range(right))
    other = backend.from_ints(Modulus(77), range(left))
    for combine in (
        lambda: backend.mod_mul(a, b),
        lambda: backend.mod_pow(a, lb.from_ints(range(right), 1)),
        lambda: backend.mul_one_plus(a, short),
        lambda: backend.crt_combine(other, short, COMBINED),
        lambda: backend.select(np.ones(left, dtype=bool), a, b),
        lambda: backend.select(np.ones(left, dtype=bool), b, b),
    ):
        with pytest.raises(ValueError, match=r"cannot be combined|mask of"):
            combine()


def test_repr_of_a_batch_shows_sizes_only(backend: Backend) -> None:
    text = repr(backend.from_ints(SQUARE, [123, 45]))
    assert "count=2" in text
    assert "Modulus(bits=8, square=True)" in text
    assert not {"123", "45", "225"} & set(text.replace(",", " ").replace(")", " ").split())


def test_two_threads_may_share_a_new_fixed_base(backend):
    """Both need its table at once: each row is made once, and is right."""
    modulus = Modulus((1 << 521) - 1)
    exponents = [random.Random(i).getrandbits(500) for i in range(40)]
    limbs = lb.from_ints(exponents, 8)
    for base in range(3, 9):
        comb = backend.fixed_base(modulus, base, 512)
        with ThreadPoolExecutor(2) as pool:
            for powers in pool.map(comb.pow, [limbs, limbs]):
                assert backend.to_ints(powers) == [pow(base, e, modulus.value) for e in exponents]
