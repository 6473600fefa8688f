"""Arrays encoded and packed on a device: the same contents and the same errors as on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hecore
from hecore import EncodingError, EncodingOverflow, FixedPoint, SlotLayout, SlotOverflow
from hecore.evaluator import check_range, import_plain
from hecore.kernels import limbs as lb
from hecore.kernels.cuda.backend import CudaBackend
from hecore.machine_numbers import export_direct, import_direct
from hecore.packing import pack

from ..kernels.cuda.reference import ReferenceDevice

DEVICE = CudaBackend([ReferenceDevice()])
SHAPES = st.sampled_from([(1,), (7,), (2, 3), (3, 1), (2, 2, 5), ()])
LAYOUTS = st.one_of(
    st.none(),
    st.builds(
        lambda value_bits, room, slots: SlotLayout(slots, value_bits + 1 + room, value_bits),
        st.integers(1, 70), st.integers(0, 40), st.integers(1, 9),
    ),
)  # fmt: skip
FLOATS = st.one_of(
    st.floats(width=64),
    st.floats(-1e6, 1e6),
    st.builds(np.ldexp, st.integers(-(2**53), 2**53), st.integers(-120, 12)),
    st.sampled_from(
        [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, 2.0**22, -(2.0**22), 2.0**23, -(2.0**23), 5e-324, 2.0**63]
    ),
)


def arrays(kind: type, elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return SHAPES.flatmap(lambda shape: hnp.arrays(kind, shape, elements=elements))


def on_host(values: Any, scale_bits: int | None, layout: SlotLayout | None, key: hecore.PrivateKey) -> Any:
    """(integers modulo n, shape, scale) by way of limbs, or the error."""
    public = key.public
    try:
        numbers = hecore.encode(values, scale_bits)
        if layout is None:
            check_range(numbers, public)
            plain = numbers
        else:
            layout.check_key(public)
            plain = pack(numbers, layout)
        return DEVICE.to_ints(import_plain(DEVICE, plain, public)), numbers.shape, numbers.scale_bits
    except hecore.HecoreError as error:
        return error


def check_against_host(
    values: Any, scale_bits: int | None, layout: SlotLayout | None, key: hecore.PrivateKey
) -> bool:
    """Whether the device took the values; what it took is what the host makes of them."""
    expected = on_host(values, scale_bits, layout, key)
    found = import_direct(DEVICE, values, scale_bits, layout, key.public)
    if found is None:
        return False
    assert (DEVICE.to_ints(found[0]), *found[1:]) == expected
    return True


@given(arrays(np.float64, FLOATS), st.sampled_from([None, 0, 1, 24, 40, 60, 1024]), LAYOUTS)
def test_floats(test_key, values, scale_bits, layout) -> None:
    check_against_host(values, scale_bits, layout, test_key)


@given(arrays(np.float64, st.floats(-(2.0**21), 2.0**21)), st.sampled_from([None, 0, 12, 40]))
def test_usual_floats_go_to_the_device(test_key, values, scale_bits) -> None:
    layout = SlotLayout.for_key(test_key.public, 62, 4) if values.ndim else None
    assert check_against_host(values, scale_bits, layout, test_key)
    assert check_against_host(values.astype(np.float32), scale_bits, None, test_key)


@given(arrays(np.int64, st.integers(-(2**63), 2**63 - 1)), st.sampled_from([None, 0, 3]), LAYOUTS)
def test_integers(test_key, values, scale_bits, layout) -> None:
    taken = check_against_host(values, scale_bits, layout, test_key)
    assert taken or scale_bits or layout is not None


@pytest.mark.parametrize("bits", [1, 20, 62, 63])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_last_value_that_fits_in_a_slot(test_key, bits: int, sign: int) -> None:
    layout = SlotLayout(3, 70, bits)
    last = sign * (2**bits - 1)
    assert check_against_host(np.array([0, last]), None, layout, test_key)
    beyond = last + sign
    if -(2**63) <= beyond < 2**63:
        assert not check_against_host(np.array([0, beyond]), None, layout, test_key)
        assert isinstance(on_host(np.array([0, beyond]), None, layout, test_key), EncodingOverflow)
    floats = np.array([0.0, float(sign * 2**bits)])
    assert not check_against_host(floats, 0, layout, test_key)


@pytest.mark.parametrize("kind", ["?", "i1", "u1", "i4", "u4", ">i4", "f2", ">f8"])
def test_other_types_of_numbers(test_key, kind: str) -> None:
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(kind)
    assert check_against_host(values, None, None, test_key)
    assert check_against_host(values.T, None, SlotLayout(3, 50, 42), test_key)
    assert check_against_host(np.asfortranarray(values)[:, ::2], None, SlotLayout(2, 50, 42), test_key)


@pytest.mark.parametrize(
    "values",
    [
        1.5, 3, [1.0, 2.0], np.array([]), np.array([2**63], dtype=np.uint64), np.array([1], dtype=object),
        np.ma.masked_array([1.0, 2.0], [False, True]), np.array(["a"]), np.array([np.longdouble(1)]),
        FixedPoint.zeros((2,), 40),
    ],
)  # fmt: skip
def test_anything_else_is_left_to_the_host(test_key, values) -> None:
    assert import_direct(DEVICE, values, None, None, test_key.public) is None


@pytest.mark.parametrize(
    ("values", "layout", "kind"),
    [
        ([1.0, np.nan], None, EncodingError),
        ([[1.0], [-np.inf]], None, EncodingError),
        ([0.0, 1e300], None, EncodingOverflow),
        ([0.0, 2.0**30], SlotLayout(2, 80, 60), EncodingOverflow),
        ([0.0], SlotLayout(20, 80, 60), hecore.LayoutMismatch),
    ],
)
def test_errors_are_those_of_the_host(
    test_key, values: list[float], layout: SlotLayout | None, kind: type[Exception]
) -> None:
    array = np.array(values)
    expected = on_host(array, None, layout, test_key)
    assert isinstance(expected, kind)
    with pytest.raises(kind) as caught:
        hecore.Encryptor(test_key, DEVICE).encrypt(array, layout=layout)
    assert str(caught.value) == str(expected)


def test_a_scale_out_of_range_is_the_hosts_error(test_key) -> None:
    for scale_bits in (-1, 1025):
        with pytest.raises(EncodingError, match="scale_bits"):
            hecore.Encryptor(test_key, DEVICE).encrypt(np.array([1.0]), scale_bits=scale_bits)


# --- back ---


@given(
    arrays(np.int64, st.integers(-(2**20) + 1, 2**20 - 1)).filter(lambda values: values.ndim),
    st.integers(21, 90), st.integers(1, 5),
)  # fmt: skip
def test_slots_come_back(test_key, values, slot_bits: int, slots: int) -> None:
    layout = SlotLayout(slots, slot_bits, 20)
    messages, shape, _ = import_direct(DEVICE, values, None, layout, test_key.public)
    plain = FixedPoint(DEVICE.to_signed(messages), (*shape[:-1], layout.ciphertexts(shape[-1])), 0)
    expected = hecore.packing.unpack(plain, layout, shape[-1])
    found = export_direct(DEVICE, messages, layout, shape, 0)
    assert found is not None
    assert found.limbs.tolist() == expected.limbs.tolist()
    assert (found.shape, found.scale_bits) == (shape, 0)
    assert found.to_integers().tolist() == values.tolist()


@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**70), 2**70)), min_size=1))
def test_single_numbers_come_back(test_key, values: list[int]) -> None:
    """As 8 bytes each, or by way of the host where one needs more."""
    messages = DEVICE.from_signed(test_key.public.modulus, lb.from_signed_ints(values, 2))
    found = export_direct(DEVICE, messages, None, (len(values),), 7)
    assert (found is not None) == all(-(2**63) <= value < 2**63 for value in values)
    if found is not None:
        assert found.to_integers().tolist() == values
        assert found.limbs.shape == (len(values), 1)


def test_a_wrapped_result_is_still_found(test_key) -> None:
    batch = hecore.Encryptor(test_key, DEVICE).encrypt(np.array([2]))
    third = test_key.public.n // 3
    with pytest.raises(EncodingOverflow, match="wrapped"):
        hecore.Decryptor(test_key, DEVICE).decrypt(batch * np.array([third - 1], dtype=object))


@pytest.mark.parametrize("value", [1 << 100, -(1 << 100), 1 << 400])
def test_a_plaintext_outside_its_slots_is_refused_as_on_the_host(test_key, value: int) -> None:
    layout = SlotLayout(2, 50, 42)
    encryptor = hecore.Encryptor(test_key, DEVICE)
    batch = encryptor.encrypt(np.array([5, 6]), layout=layout)
    outside = encryptor.encrypt(np.array([value], dtype=object))
    broken = hecore.CipherBatch(test_key.public, DEVICE, outside.residues, (2,), 0, layout)
    assert hecore.Decryptor(test_key, DEVICE).decrypt(batch).tolist() == [5, 6]
    with pytest.raises(SlotOverflow):
        hecore.Decryptor(test_key, DEVICE).decrypt(broken)


def test_a_filled_slot_beyond_the_row_does_not_matter(test_key) -> None:
    """The host cuts it off; the device leaves such numbers to the host."""
    layout = SlotLayout(3, 50, 42)
    full = hecore.Encryptor(test_key, DEVICE).encrypt(np.array([5, 6, 7]), layout=layout)
    short = hecore.CipherBatch(test_key.public, DEVICE, full.residues, (2,), 0, layout)
    assert hecore.Decryptor(test_key, DEVICE).decrypt(short).tolist() == [5, 6]


def launches(backend: CudaBackend, work: Callable[[], Any]) -> list[str]:
    backend.home.device.launched.clear()
    work()
    return [entry for entry, _, _ in backend.home.device.launched]


def test_the_verbs_use_it(test_key) -> None:
    layout = SlotLayout(2, 80, 60)
    encryptor, decryptor = hecore.Encryptor(test_key, DEVICE), hecore.Decryptor(test_key, DEVICE)
    values = np.array([1.5, -2.5, 3.0])
    names = launches(DEVICE, lambda: encryptor.encrypt(values, layout=layout))
    assert {"encode_floats", "pack_slots"} <= set(names)
    batch = encryptor.encrypt(values, layout=layout)
    assert "unpack_slots" in launches(DEVICE, lambda: decryptor.decrypt(batch + batch))
    assert decryptor.decrypt(batch + batch).tolist() == [3.0, -5.0, 6.0]
