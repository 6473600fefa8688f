"""The rounding of floating point on this thread, towards zero while kernels compute with it (see `lanes`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .cache import CACHED
from .lanes import FORM, I32

#: Both bits of MXCSR's rounding control.
TOWARDS_ZERO = 0x6000


@intrinsic
def _exchange(context: Any, bits: Any) -> Any:
    """MXCSR as it is; then `bits` if they are not 0, else with rounding towards zero."""

    def code(context: Any, builder: Any, _: Any, values: Any) -> Any:
        word = builder.alloca(I32)
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
        store, load = (
            cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
            for name in ("stmxcsr", "ldmxcsr")
        )
        place = builder.bitcast(word, kind.args[0])
        builder.call(store, [place])
        before = builder.load(word)
        wanted = builder.trunc(values[0], I32)
        rounded = builder.or_(before, ir.Constant(I32, TOWARDS_ZERO))
        restore = builder.icmp_unsigned("!=", wanted, ir.Constant(I32, 0))
        builder.store(builder.select(restore, wanted, rounded), word)
        builder.call(load, [place])
        return builder.zext(before, ir.IntType(64))

    return types.uint64(types.uint64), code


@njit(cache=CACHED)
def _exchanged(bits: Any) -> Any:
    return _exchange(bits)


@contextmanager
def towards_zero() -> Iterator[None]:
    """Rounding towards zero within, on this thread, in forms that need it; the setting before, afterwards."""
    if not FORM.floats:
        yield
        return
    before = _exchanged(np.uint64(0))
    try:
        yield
    finally:
        _exchanged(np.uint64(before))
