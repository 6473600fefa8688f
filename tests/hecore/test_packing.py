"""Slots: what goes in comes out, up to the last term of headroom and not one further."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hecore
from hecore import EncodingOverflow, LayoutMismatch, SlotLayout, SlotOverflow
from hecore.encoding import FixedPoint
from hecore.evaluator import pack_rows
from hecore.packing import pack, unpack


@st.composite
def layouts(draw: st.DrawFn, most: int = 300) -> SlotLayout:
    """Slots of 2 to `most` bits, with any share of headroom."""
    value_bits = draw(st.integers(1, most - 1))
    headroom = draw(st.integers(0, most - 1 - value_bits))
    return SlotLayout(draw(st.integers(1, 8)), value_bits + 1 + headroom, value_bits)


def extremes(bits: int) -> st.SearchStrategy[int]:
    """Numbers of up to `bits` bits, the largest often."""
    largest = (1 << bits) - 1
    return st.sampled_from([largest, -largest, 0, 1, -1]) | st.integers(-largest, largest)


@st.composite
def rows(draw: st.DrawFn, layout: SlotLayout) -> np.ndarray:
    """An array of up to three dimensions, packed along the last."""
    shape = (*draw(st.lists(st.integers(0, 3), max_size=2)), draw(st.integers(0, 20)))
    values = np.empty(shape, dtype=object)
    flat = [draw(extremes(layout.value_bits)) for _ in range(values.size)]
    values[...] = np.array(flat, dtype=object).reshape(shape)
    return values


# --- plaintexts -----------------------------------------------------------------------------------


@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    layout = data.draw(layouts())
    values = data.draw(rows(layout))
    plain = pack(FixedPoint.from_integers(values, 7), layout)
    assert plain.shape == (*values.shape[:-1], -(-values.shape[-1] // layout.slots))
    back = unpack(plain, layout, values.shape[-1])
    assert (back.shape, back.scale_bits) == (values.shape, 7)
    assert back.to_integers().ravel().tolist() == values.ravel().tolist()


@given(st.data())
def test_the_formula(data: st.DataObject) -> None:
    """plaintext = Σ v_i·2^(i·slot_bits), the last one filled up with zeros."""
    layout = data.draw(layouts())
    row = data.draw(st.lists(extremes(layout.value_bits), min_size=1, max_size=20))
    plain = pack(FixedPoint.from_integers(row), layout).to_integers().tolist()
    groups = [row[i : i + layout.slots] for i in range(0, len(row), layout.slots)]
    assert plain == [sum(v << layout.slot_bits * i for i, v in enumerate(group)) for group in groups]


@given(st.data())
def test_sums_within_the_headroom_stay_in_their_slots(data: st.DataObject) -> None:
    """Every slot filled with ±T·(2^value_bits − 1): the worst case of the proof."""
    layout = data.draw(layouts())
    largest = layout.max_terms * ((1 << layout.value_bits) - 1)
    row = data.draw(st.lists(st.sampled_from([largest, -largest, 0]), min_size=1, max_size=10))
    groups = [row[i : i + layout.slots] for i in range(0, len(row), layout.slots)]
    total = [sum(v << layout.slot_bits * i for i, v in enumerate(group)) for group in groups]
    assert unpack(FixedPoint.from_integers(total), layout, len(row)).to_integers().tolist() == row
    assert all(abs(plain) < 1 << (layout.slots * layout.slot_bits - 1) for plain in total)


@given(st.data())
def test_plaintexts_outside_their_slots_are_refused(data: st.DataObject) -> None:
    layout = data.draw(layouts())
    half = sum(1 << (layout.slot_bits * (i + 1) - 1) for i in range(layout.slots))
    edge = (1 << layout.slots * layout.slot_bits) - half
    beyond = data.draw(st.integers(0, 1 << 64))
    for good, bad in ((edge - 1, edge + beyond), (-half, -half - 1 - beyond)):
        unpack(FixedPoint.from_integers([0, good]), layout, 2 * layout.slots)
        with pytest.raises(SlotOverflow, match=r"plaintext at row 1 is outside its slots"):
            unpack(FixedPoint.from_integers([0, bad]), layout, 2 * layout.slots)


@pytest.mark.parametrize(
    ("shape", "place", "name"),
    [
        ((4,), (2,), "row 2"),
        ((2, 5), (1, 4), "row 1, column 4"),
        ((2, 2, 3), (1, 0, 2), r"index \(1, 0, 2\)"),
    ],
)
@pytest.mark.parametrize("value", [1 << 10, -(1 << 10), 1 << 63, -(1 << 63), 1 << 200])
def test_values_too_large_are_named(
    shape: tuple[int, ...], place: tuple[int, ...], name: str, value: int
) -> None:
    values = np.full(shape, 1023, dtype=object)
    pack(FixedPoint.from_integers(-values), SlotLayout(2, 20, 10))
    values[place] = value
    with pytest.raises(
        EncodingOverflow,
        match=rf"value at {name} needs more than the 10 value bits.*scale_bits=3.*widen the slots",
    ):
        pack(FixedPoint.from_integers(values, 3), SlotLayout(2, 20, 10))


def test_a_single_number_is_not_packed() -> None:
    with pytest.raises(LayoutMismatch, match=r"reshape it to \(1,\)"):
        pack(FixedPoint.from_integers(5), SlotLayout(2, 20, 10))


# --- layouts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ((0, 20, 10), "at least one slot"),
        ((2, 20, 0), "one value bit"),
        ((2, 10, 10), "slot of 10 bits cannot hold 10 value bits and a sign"),
        ((-1, 20, 10), "at least one slot"),
    ],
)
def test_layouts_that_cannot_be(layout: tuple[int, int, int], message: str) -> None:
    with pytest.raises(LayoutMismatch, match=message):
        SlotLayout(*layout)


@given(st.integers(1, 500), st.integers(1, 1 << 40))
def test_a_layout_for_a_key(test_key: hecore.PrivateKey, value_bits: int, terms: int) -> None:
    public = test_key.public
    needed = value_bits + 1 + (terms - 1).bit_length()
    if needed > public.bits - 1:
        with pytest.raises(LayoutMismatch, match=rf"need {needed} bits, but a plaintext of this key has 511"):
            SlotLayout.for_key(public, value_bits, terms)
        return
    layout = SlotLayout.for_key(public, value_bits, terms)
    assert layout.value_bits == value_bits
    assert terms <= layout.max_terms < 2 * terms
    assert layout.slots * layout.slot_bits <= public.bits - 1 < (layout.slots + 1) * layout.slot_bits
    layout.check_key(public)


@pytest.mark.parametrize(("value_bits", "terms"), [(0, 1), (-1, 1), (10, 0), (10, -5)])
def test_a_layout_for_nothing(test_key: hecore.PrivateKey, value_bits: int, terms: int) -> None:
    with pytest.raises(LayoutMismatch, match="both must be at least 1"):
        SlotLayout.for_key(test_key.public, value_bits, terms)


def test_a_layout_for_another_key(encryptor: hecore.Encryptor, key: hecore.PrivateKey) -> None:
    layout = SlotLayout.for_key(key.public, 20, 8)
    with pytest.raises(LayoutMismatch, match=r"slots of 24 bits do not fit a plaintext of 511 bits"):
        encryptor.encrypt([1, 2], layout=layout)
    with pytest.raises(LayoutMismatch, match=r"SlotLayout\.for_key"):
        encryptor.encrypt([1, 2]).pack(layout)


@pytest.mark.parametrize("slots", [1, 7, 73])
def test_slots_up_to_the_last_bit(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, slots: int
) -> None:
    """511 = 7·73 bits of a plaintext under a 512-bit key are below n/2; one bit more is not."""
    layout = SlotLayout(slots, 511 // slots, 511 // slots - 1)
    largest = (1 << layout.value_bits) - 1
    for row in ([largest] * slots, [-largest] * slots):
        assert decryptor.decrypt(encryptor.encrypt(row, layout=layout)).tolist() == row


@pytest.mark.parametrize("slots", [1, 2, 8, 256])
def test_slots_beyond_the_last_bit(encryptor: hecore.Encryptor, slots: int) -> None:
    with pytest.raises(LayoutMismatch, match="do not fit a plaintext of 511 bits"):
        encryptor.encrypt([1], layout=SlotLayout(slots, 512 // slots, 1))


@pytest.mark.parametrize(("values", "expected"), [(0, 0), (1, 1), (3, 1), (4, 2), (7, 3)])
def test_ciphertexts_of_a_row(values: int, expected: int) -> None:
    assert SlotLayout(3, 20, 10).ciphertexts(values) == expected


def test_headroom_is_counted_in_64_bits(encryptor: hecore.Encryptor) -> None:
    layout = SlotLayout(1, 300, 10)
    assert layout.max_terms == 1 << 62
    batch = encryptor.encrypt([5], layout=layout) * (1 << 62)
    assert len(batch.to_bytes()) > 0
    with pytest.raises(SlotOverflow):
        batch + 1


# --- ciphertexts ----------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.data())
def test_encrypted_round_trip(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, data: st.DataObject
) -> None:
    layout = data.draw(layouts(most=60))
    values = data.draw(rows(layout))
    batch = encryptor.encrypt(values, layout=layout)
    assert batch.shape == values.shape
    assert batch.size == values.size
    assert len(batch.residues) == values[..., :1].size * layout.ciphertexts(values.shape[-1])
    assert np.array_equal(decryptor.decrypt(batch), values.astype(np.int64))


#: T = 8 terms. Every way takes n rows and gives the row of their sums.
NARROW = SlotLayout(5, 10, 6)
WAYS: dict[str, Callable[[hecore.CipherBatch, int], hecore.CipherBatch]] = {
    "sum over an axis": lambda rows, n: rows[:n].sum(axis=0),
    "sum over all": lambda rows, n: rows[:n].sum(),
    "additions": lambda rows, n: sum((rows[i] for i in range(1, n)), rows[0]),
    "subtractions": lambda rows, n: -functools.reduce(operator.sub, [rows[i] for i in range(1, n)], -rows[0]),
    "plain additions": lambda rows, n: sum((EXTREME for _ in range(1, n)), rows[0]),
    "plain subtractions": lambda rows, n: sum((EXTREME for _ in range(2, n)), rows[0] - -EXTREME),
    "factor": lambda rows, n: rows[0] * n,
    "negative factor": lambda rows, n: -(rows[0] * -n),
    "factors one after the other": lambda rows, n: rows[0] * (2 if n == 8 else 3) * (4 if n == 8 else 3),
    "row product": lambda rows, n: [1] * n @ rows[:n],
    "row product with signs": lambda rows, n: -([[0] * 9, [-1] * n + [0] * (9 - n)] @ rows)[1],
    "histogram": lambda rows, n: hecore.histogram(rows[:n], np.ones((n, 1), dtype=int), 3)[0, 1],
    "joined": lambda rows, n: hecore.concatenate([rows[:1], rows[1:n]]).sum(0),
    "through the wire": lambda rows, n: through_the_wire(rows[: n - 1].sum(0)) + rows[0],
}
EXTREME = np.array([63, -63, 63, 63, -63, -63, 63])


def through_the_wire(batch: hecore.CipherBatch) -> hecore.CipherBatch:
    return hecore.CipherBatch.from_bytes(batch.to_bytes(rerandomize=False), batch.public)


@pytest.mark.parametrize("way", WAYS)
def test_the_last_term_fits_and_the_next_is_refused(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, way: str
) -> None:
    batch = encryptor.encrypt(np.tile(EXTREME, (9, 1)), layout=NARROW)
    assert NARROW.max_terms == 8
    result = WAYS[way](batch, 8)
    assert result.shape == (7,)
    assert result.terms == 8
    assert decryptor.decrypt(result).tolist() == (8 * EXTREME).tolist()
    with pytest.raises(
        SlotOverflow, match=r"\d+ terms could overflow slots with headroom for 8: use a layout"
    ):
        WAYS[way](batch, 9)


def test_joined_rows_count_the_most_terms(encryptor: hecore.Encryptor) -> None:
    batch = encryptor.encrypt(np.tile(EXTREME, (8, 1)), layout=NARROW)
    for parts in ([batch[:1], batch.sum(0)[None]], [batch.sum(0)[None], batch[:1]]):
        joined = hecore.concatenate(parts)
        assert joined.terms == 8
        with pytest.raises(SlotOverflow):
            joined + EXTREME


def test_rescaling_uses_headroom(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    batch = encryptor.encrypt(EXTREME, layout=NARROW)
    result = batch.rescale(3)
    assert decryptor.decrypt(result).tolist() == EXTREME.tolist()
    assert result.terms == 8
    with pytest.raises(SlotOverflow):
        batch.rescale(4)


def test_a_zero_factor_uses_no_headroom(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    batch = encryptor.encrypt(np.tile(EXTREME, (3, 1)), layout=NARROW)
    result = batch.sum(0) * 0
    assert result.terms == 1
    assert decryptor.decrypt(result).tolist() == [0] * 7
    assert decryptor.decrypt(result + EXTREME * 1).tolist() == EXTREME.tolist()


def test_plain_values_of_a_packed_sum_are_checked(encryptor: hecore.Encryptor) -> None:
    batch = encryptor.encrypt(EXTREME, layout=NARROW)
    for wrong in (lambda: batch + 64, lambda: batch - 64, lambda: -64 + batch):
        with pytest.raises(EncodingOverflow, match="row 0 needs more than the 6 value bits"):
            wrong()


# --- packing what is encrypted --------------------------------------------------------------------


@settings(max_examples=25)
@given(st.data())
def test_packing_afterwards_gives_the_same(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, data: st.DataObject
) -> None:
    layout = data.draw(layouts(most=40))
    values = data.draw(rows(layout))
    packed = encryptor.encrypt(values).pack(layout)
    assert packed.shape == values.shape
    assert packed.layout == layout
    assert not packed.fresh
    assert len(packed.residues) == values[..., :1].size * layout.ciphertexts(values.shape[-1])
    assert np.array_equal(decryptor.decrypt(packed), values.astype(np.int64))


def test_a_lie_about_the_bound_is_found(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    """An encrypted value cannot be measured; what leaves all slots is seen by the owner of the key."""
    packed = encryptor.encrypt([[1, 2], [3, 1 << 25]]).pack(SlotLayout(2, 20, 10))
    with pytest.raises(
        SlotOverflow, match="row 1, column 0 is outside its slots: whoever computed the batch"
    ):
        decryptor.decrypt(packed)


def test_what_cannot_be_packed(encryptor: hecore.Encryptor) -> None:
    with pytest.raises(LayoutMismatch, match="packed already"):
        encryptor.encrypt([1, 2], layout=NARROW).pack(NARROW)
    with pytest.raises(LayoutMismatch, match=r"reshape it to \(1,\)"):
        encryptor.encrypt(1).pack(NARROW)
    with pytest.raises(LayoutMismatch, match=r"reshape it to \(1,\)"):
        encryptor.encrypt(1, layout=NARROW)


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 3), st.data())
def test_rows_side_by_side(
    encryptor: hecore.Encryptor,
    decryptor: hecore.Decryptor,
    rows: int,
    width: int,
    terms: int,
    data: st.DataObject,
) -> None:
    """Extreme sums of either sign next to each other, in slots that are just wide enough."""
    layout = SlotLayout(4, 14, 12)
    largest = (1 << 12) - 1
    values = np.array(
        data.draw(
            st.lists(st.sampled_from([largest, -largest, 0, 1]), min_size=rows * width, max_size=rows * width)
        )
    ).reshape(rows, width)
    batch = encryptor.encrypt(values, layout=layout)
    total = functools.reduce(operator.add, [batch] * min(terms, layout.max_terms))
    packed = pack_rows(total)
    assert packed.shape == (rows * width,)
    assert len(packed.residues) == -(-rows // (511 // 14 // width))
    assert (packed.terms, packed.fresh) == (total.terms, False)
    assert np.array_equal(decryptor.decrypt(packed), (values * min(terms, layout.max_terms)).ravel())


def test_rows_that_do_not_fit_side_by_side(encryptor: hecore.Encryptor) -> None:
    for batch in (
        encryptor.encrypt([[1, 2, 3]], layout=SlotLayout(2, 20, 10)),  # two ciphertexts a row
        encryptor.encrypt([1, 2], layout=NARROW),
        encryptor.encrypt([[1, 2]]),
    ):
        with pytest.raises(LayoutMismatch, match="rows of one ciphertext"):
            pack_rows(batch)
