"""The vector forms: how many lanes, how wide a limb, and what a processor must have for it.

    ifma     8 lanes    vpmadd52 adds the low or the high half of a 52 × 52-bit product
    avx512   8 lanes    vfmadd makes both halves, in floating point (see `lanes`)
    avx2     4 lanes    the same in 256 bits

All have limbs of 52 bits. One process uses one form: the best that numba compiles for here, or
$HECORE_SIMD_FORM.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..errors import BackendUnavailable


@dataclass(frozen=True)
class Form:
    """A vector form.

    rows     limbs of a factor that are held in registers: ten of 32 registers, five of 16
    floats   halves of products come from floating point, not from vpmadd52
    least_count   elements from which powers are faster than on gmp: docs/performance.md
    """

    name: str
    lanes: int
    rows: int
    floats: bool
    features: tuple[str, ...]
    least_count: int

    @property
    def description(self) -> str:
        """For people."""
        return f"{self.name}: {self.lanes} lanes"


FORMS = (
    Form("ifma", 8, 10, False, ("avx512f", "avx512ifma"), 1),
    Form("avx512", 8, 10, True, ("avx512f",), 2),
    Form("avx2", 4, 5, True, ("avx2", "fma"), 2),
)


def target_features() -> frozenset[str]:
    """What numba compiles for, which may be less than the processor has.

    LLVM ends the process, without an exception, when it is asked for instructions that its target does not
    have: so this is looked at before anything is compiled.
    """
    try:
        from numba.core.registry import cpu_target
    except ImportError as error:
        raise BackendUnavailable(f"simd needs numba, which cannot be imported: {error}") from None
    text = str(getattr(cpu_target.target_context.codegen(), "_tm_features", ""))
    return frozenset(name[1:] for name in text.split(",") if name.startswith("+"))


def choose(features: frozenset[str], wanted: str = "") -> Form:
    """The form called `wanted`, or the first that the features allow. BackendUnavailable if there is none."""
    for form in FORMS:
        missing = [name for name in form.features if name not in features]
        if form.name == wanted and missing:
            raise BackendUnavailable(
                f"simd form {wanted!r} needs {', '.join(missing)}, which numba does not compile for here"
            )
        if not missing and wanted in ("", form.name):
            return form
    if wanted:
        known = ", ".join(form.name for form in FORMS)
        raise BackendUnavailable(f"HECORE_SIMD_FORM={wanted!r} is none of {known}")
    raise BackendUnavailable(
        "simd needs a processor with AVX2 and FMA at least, and numba does not compile for it here"
    )


def chosen() -> Form:
    """The form of this process."""
    return choose(target_features(), os.environ.get("HECORE_SIMD_FORM", ""))
