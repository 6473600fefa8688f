"""Every planted fault is found, and nothing is found where there is none. See `planted_faults`."""

from __future__ import annotations

from collections import Counter

import pytest

from hecore.kernels import BackendUnavailable

pytest.importorskip("numba")

from hecore.kernels.simd.forms import choose, chosen, target_features

from .planted_faults import FAULTS, KERNELS, SAMPLE, Fault, copy_of_the_kernels, found_by


def form_for(fault: Fault | None) -> str:
    """The form of this process, or another in which the fault matters."""
    forms = [chosen().name]
    if fault is not None and forms[0] not in fault.forms:
        forms = list(fault.forms)
    for form in forms:
        try:
            return choose(target_features(), form).name
        except BackendUnavailable as error:
            reason = str(error)
    raise BackendUnavailable(reason)


def verdict(fault: Fault | None) -> str:
    try:
        form = form_for(fault)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    return found_by(fault, form)


@pytest.mark.parametrize(
    "fault",
    [pytest.param(f, id=f.why, marks=[] if f.why in SAMPLE else [pytest.mark.slow]) for f in FAULTS],
)
def test_a_planted_fault_is_found(fault: Fault) -> None:
    assert verdict(fault).startswith(("self-test: simd failed its self-test", "oracle: "))


def test_without_a_fault_nothing_is_found() -> None:
    assert verdict(None) == "nothing"


def test_every_fault_can_be_planted(tmp_path) -> None:
    """The table follows the sources: each text stands there once, and the copies alone are changed."""
    before = {path: path.read_bytes() for path in KERNELS.rglob("*.py")}
    for number, fault in enumerate(FAULTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        copy_of_the_kernels(folder, fault)
        copied = folder / "hecore" / "kernels"
        changed = [p for p in before if (copied / p.relative_to(KERNELS)).read_bytes() != before[p]]
        assert changed == [KERNELS / fault.file]
        compile((copied / fault.file).read_text(encoding="utf-8"), fault.file, "exec")
    assert {path: path.read_bytes() for path in KERNELS.rglob("*.py")} == before


def test_no_fault_stands_twice() -> None:
    assert max(Counter(fault.why for fault in FAULTS).values()) == 1
    assert set(SAMPLE) <= {fault.why for fault in FAULTS}
