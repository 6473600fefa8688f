from __future__ import annotations

import dataclasses

import pytest

from hecore.kernels import Modulus


@pytest.mark.parametrize("value", [-3, -1, 0, 1, 2, 4, 2**64, 2**2048])
def test_even_and_small_values_are_refused(value: int) -> None:
    with pytest.raises(ValueError, match="odd and at least 3"):
        Modulus(value)


@pytest.mark.parametrize(
    ("value", "bits", "width"),
    [
        (3, 2, 1),
        (2**64 - 1, 64, 1),
        (2**64 + 1, 65, 2),
        (2**128 - 1, 128, 2),
        (2**128 + 1, 129, 3),
        (2**4096 - 1, 4096, 64),
    ],
)
def test_sizes(value: int, bits: int, width: int) -> None:
    modulus = Modulus(value)
    assert (modulus.bits, modulus.width, modulus.nbytes) == (bits, width, 8 * width)
    assert modulus.mpz == value


def test_square_knows_its_root() -> None:
    root = Modulus(15)
    assert Modulus.square_of(root).value == 225
    assert Modulus.square_of(root).root is root
    assert root.root is None


@pytest.mark.parametrize("value", [25, 223, 227, 15])
def test_wrong_root_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="square is not the modulus"):
        Modulus(value, Modulus(15))


def test_equality_is_of_value_and_known_root() -> None:
    square = Modulus.square_of(Modulus(15))
    assert square == Modulus.square_of(Modulus(15))
    assert hash(square) == hash(Modulus.square_of(Modulus(15)))
    assert square not in (Modulus(225), Modulus(15), 225)


def test_it_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Modulus(15).value = 17  # type: ignore[misc]


def test_repr_keeps_the_value_to_itself() -> None:
    square = Modulus.square_of(Modulus(1000003))
    assert repr(square) == "Modulus(bits=40, square=True)"
    assert repr(square.root) == "Modulus(bits=20, square=False)"
