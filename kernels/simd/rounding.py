"""The mode of floating point of a thread: kernels that make products with it round towards zero."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .cache import jit
from .lanes import I32, I64

#: MXCSR: no exception is raised, rounding towards zero.
TOWARDS_ZERO = 0x7F80


def _on_word(builder: Any, name: str, word: Any) -> None:
    """The instruction stmxcsr or ldmxcsr."""
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(word, kind.args[0])])


def _read(context: Any) -> Any:
    """MXCSR."""

    def code(context: Any, builder: Any, _: Any, values: Any) -> Any:
        word = builder.alloca(I32)
        _on_word(builder, "stmxcsr", word)
        return builder.zext(builder.load(word), I64)

    return types.int64(), code


def _write(context: Any, bits: Any) -> Any:
    """MXCSR = bits."""

    def code(context: Any, builder: Any, _: Any, values: Any) -> Any:
        word = builder.alloca(I32)
        builder.store(builder.trunc(values[0], I32), word)
        _on_word(builder, "ldmxcsr", word)
        return context.get_dummy_value()

    return types.void(types.int64), code


_mode: Any = intrinsic(_read)
_set_mode: Any = intrinsic(_write)


@jit
def mode():
    """This thread's MXCSR."""
    return _mode()


@jit
def set_mode(bits):
    """MXCSR = bits, on this thread."""
    _set_mode(bits)


set_mode(mode())  # compiled here, not where an interrupt would find the mode changed
