"""What is special to the lanes: block tails, limb boundaries, lazy digits; the rest is in test_backend."""

from __future__ import annotations

import random
import signal

import numpy as np
import pytest

from hecore.kernels import BackendUnavailable, Modulus, get_backend
from hecore.kernels import limbs as lb


@pytest.fixture(scope="module")
def simd():
    try:
        return get_backend("simd")
    except BackendUnavailable as error:
        pytest.skip(str(error))


def odd(bits: int) -> int:
    return random.Random(bits).getrandbits(bits) | 1 << (bits - 1) | 1


#: Around the lengths at which a digit takes ROWS more limbs (less 8 spare bits): ten, or five.
LENGTHS = [bits + step for bits in (252, 512, 772, 1032, 1552, 2072, 3112) for step in (-1, 0, 1)]
LENGTHS += [1024, 2048, 3072, 4096, 8192]


@pytest.mark.parametrize("bits", LENGTHS)
def test_products_around_limb_boundaries(simd, bits):
    rng = random.Random(bits)
    for value in (odd(bits), (1 << bits) - 1, (1 << (bits - 1)) + 1):
        for modulus in (Modulus(value), Modulus.square_of(Modulus(value))):
            m, n = modulus.value, value
            special = [0, 1, m - 1, n - 1, n % m, (n + 1) % m, (m - n) % m, m // 2, ((1 << 52 * 9) - 1) % m]
            values = special + [rng.randrange(m) for _ in range(8)]
            x = simd.from_ints(modulus, values)
            y = simd.from_ints(modulus, values[::-1])
            assert simd.to_ints(x) == values
            expected = [a * b % m for a, b in zip(values, values[::-1], strict=True)]
            assert simd.to_ints(simd.mod_mul(x, y)) == expected
            assert simd.to_ints(simd.mod_pow(x, 1 << 3)) == [pow(v, 8, m) for v in values]


def test_limbs_of_ones_and_zeros(simd):
    """Every half of every product is 0, 1 or close to 2^52: a half that is rounded the wrong way shows."""
    bits = 2048
    for value in ((1 << bits) - 1, (1 << bits) - (1 << 52) + 1, (1 << (bits - 1)) + 1):
        modulus = Modulus.square_of(Modulus(value))
        m = modulus.value
        limbs = [(1 << 52) - 1, 0, 1, 1 << 51, (1 << 51) - 1, (1 << 51) + 1]
        rng = random.Random(value)
        numbers = [sum(rng.choice(limbs) << (52 * k) for k in range(78)) % m for _ in range(40)]
        x, y = simd.from_ints(modulus, numbers), simd.from_ints(modulus, numbers[::-1])
        wanted = [a * b % m for a, b in zip(numbers, numbers[::-1], strict=True)]
        assert simd.to_ints(simd.mod_mul(x, y)) == wanted
        assert simd.to_ints(simd.mod_pow(x, 2)) == [a * a % m for a in numbers]


def test_rounding_is_as_before_after_a_kernel(simd):
    """Kernels may round towards zero; the thread that calls them goes on rounding to the nearest."""
    modulus = Modulus(odd(512))
    x = simd.from_ints(modulus, range(100))
    for _ in range(3):
        simd.mod_mul(x, x)
        with pytest.raises(ValueError, match="broken"):
            simd.run(broken, 100, x.constants)
        assert rounds_to_the_nearest()


# An interrupt that finds Python in a destructor is dropped there, with a word that is no failure here.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_rounding_is_as_before_after_an_interrupt(simd):
    """Wherever Ctrl-C finds a kernel, or what stands around it."""
    modulus = Modulus(odd(1024))
    x = simd.from_ints(modulus, range(4))
    before = signal.signal(signal.SIGALRM, interrupt)
    rng, interrupts = random.Random(1), 0
    try:
        for _ in range(1500):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(2e-5, 3e-4))
                for _ in range(1000):
                    simd.mod_mul(x, x)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupts += 1
            assert rounds_to_the_nearest()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 1400  # Python drops the few that find it in a destructor


def broken(first, last, scratch):
    raise ValueError("broken")


def interrupt(number, frame):
    raise KeyboardInterrupt


def rounds_to_the_nearest():
    return 2.0**52 + float(len("a")) * 0.75 == 2.0**52 + 1


@pytest.mark.parametrize("count", [1, 7, 8, 9, 15, 16, 17])
def test_every_tail_of_a_block(simd, count):
    modulus = Modulus.square_of(Modulus(odd(512)))
    m = modulus.value
    values = [random.Random(i).randrange(m) for i in range(count)]
    x = simd.from_ints(modulus, values)
    assert simd.to_ints(simd.mod_mul(x, x)) == [v * v % m for v in values]
    everything = simd.segment_product(x, np.arange(count), np.array([0, count]))
    product = 1
    for value in values:
        product = product * value % m
    assert simd.to_ints(everything) == [product]


def test_long_chains_stay_exact(simd):
    """Lazy digits: nothing drifts out of its bounds over many operations."""
    modulus = Modulus.square_of(Modulus((1 << 1024) - 105))
    m, rng = modulus.value, random.Random(4)
    values = [m - 1, m - 2, 1, 0, *(rng.randrange(m) for _ in range(5))]
    x, truth = simd.from_ints(modulus, values), values
    message = simd.from_ints(modulus.root, [modulus.root.value - 1] * len(values))
    for step in range(60):
        x = simd.mul_one_plus(simd.mod_mul(x, x), message)
        factor = 1 + (modulus.root.value - 1) * modulus.root.value
        truth = [v * v * factor % m for v in truth]
        if step % 20 == 19:
            assert simd.to_ints(x) == truth


def test_wide_integers_come_in_by_chunks(simd):
    """Reduction modulo a much shorter modulus: four chunks and more."""
    rng = random.Random(9)
    big, small = Modulus(odd(4096)), Modulus.square_of(Modulus(odd(600)))
    values = [
        0,
        1,
        big.value - 1,
        small.value,
        small.value - 1,
        *(rng.randrange(big.value) for _ in range(9)),
    ]
    reduced = simd.reduce(simd.from_ints(big, values), small)
    assert simd.to_ints(reduced) == [v % small.value for v in values]


def test_segments_of_very_different_lengths(simd):
    modulus = Modulus.square_of(Modulus(odd(512)))
    m, rng = modulus.value, random.Random(1)
    values = [rng.randrange(m) for _ in range(50)]
    lengths = [0, 1, 700, 2, 0, 33, 5, 1, 250, 0]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.array([rng.randrange(50) for _ in range(int(offsets[-1]))])
    found = simd.to_ints(simd.segment_product(simd.from_ints(modulus, values), indices, offsets))
    for product, first, last in zip(found, offsets, offsets[1:], strict=False):
        expected = 1
        for index in indices[first:last]:
            expected = expected * values[index] % m
        assert product == expected


def test_exponents_of_every_window_width(simd):
    modulus = Modulus(odd(256))
    m, rng = modulus.value, random.Random(2)
    values = [rng.randrange(m) for _ in range(9)]
    x = simd.from_ints(modulus, values)
    for bits in (1, 2, 5, 12, 40, 64, 200, 700):
        exponents = [rng.getrandbits(bits) for _ in values]
        limbs = lb.from_ints(exponents, lb.width_for_bits(bits))
        assert simd.to_ints(simd.mod_pow(x, limbs)) == [
            pow(v, e, m) for v, e in zip(values, exponents, strict=True)
        ]
