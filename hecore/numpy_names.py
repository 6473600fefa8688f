"""What numpy's names come to on encrypted numbers: our operator, or an error that says what to write.

`array * batch` and `np.multiply(array, batch)` reach a batch alike, as the ufunc `multiply`: four ufuncs are
our operators, and `negative` is our sign. Everything else that numpy has needs the private key, or has
another name here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: ufunc → (method where the batch stands on the left, method where it stands on the right).
OPERATORS: dict[Any, tuple[str, str]] = {
    np.add: ("__add__", "__radd__"),
    np.subtract: ("__sub__", "__rsub__"),
    np.multiply: ("__mul__", "__rmul__"),
    np.matmul: ("__matmul__", "__rmatmul__"),
    np.negative: ("__neg__", ""),
}

COMPARED = "encrypted numbers cannot be compared: decrypt them first"
DIVIDED = "multiply by the reciprocal (x * 0.5 for x / 2), or divide after decrypting"
_MEAN = "x.sum(axis), and divide after decrypting"
_PRODUCT = "a @ x, where a is plain"
_JOINED = "hecore.concatenate([x, y], axis)"
_FLAT = "x.reshape(-1)"
_SELF = "x itself: a batch is immutable"

#: What to write in place of a name; of numpy's functions, and of the methods of its arrays.
INSTEAD = {
    "append": _JOINED,
    "average": _MEAN,
    "column_stack": "hecore.concatenate([x.reshape(-1, 1), y.reshape(-1, 1)], 1)",
    "concat": _JOINED,
    "concatenate": _JOINED,
    "copy": _SELF,
    "dot": _PRODUCT,
    "einsum": _PRODUCT,
    "expand_dims": "x[None], or x[:, None]",
    "flatten": _FLAT,
    "flip": "x[::-1]",
    "hstack": "hecore.concatenate([x, y], 1), of vectors with axis 0",
    "inner": _PRODUCT,
    "matvec": _PRODUCT,
    "mean": _MEAN,
    "permute_dims": "x.transpose()",
    "positive": _SELF,
    "ravel": _FLAT,
    "repeat": "x[places]",
    "reshape": "x.reshape(shape)",
    "split": "x[:k] and x[k:]",
    "squeeze": "x.reshape(shape)",
    "stack": "hecore.concatenate([x[None], y[None]])",
    "sum": "x.sum(axis)",
    "take": "x[places]",
    "tensordot": _PRODUCT,
    "tobytes": "x.to_bytes()",
    "transpose": "x.transpose()",
    "vdot": _PRODUCT,
    "vecdot": _PRODUCT,
    "vecmat": _PRODUCT,
    "vstack": "hecore.concatenate([x, y]), of vectors hecore.concatenate([x[None], y[None]])",
}
_COMPARISONS = (
    "allclose amax amin argmax argmin argsort array_equal clip equal fmax fmin greater greater_equal isclose"
    " less less_equal max maximum min minimum not_equal sort unique where"
)
#: What stands in place of "write …" where the numbers themselves are in the way.
WHY_NOT = {
    **dict.fromkeys(_COMPARISONS.split(), COMPARED),
    **dict.fromkeys(("divide", "true_divide", "floor_divide", "remainder"), DIVIDED),
    **dict.fromkeys(
        ("item", "tolist", "astype"), "the numbers are encrypted: Decryptor(key).decrypt(x) gives them"
    ),
}
OTHERWISE = "there is +, −, × and @ with plain numbers, sum, indices and reshape; for all else, decrypt first"


def remedy(name: str) -> str:
    """What to do in place of numpy's `name`."""
    if name in INSTEAD:
        return f"write {INSTEAD[name]}"
    return WHY_NOT.get(name, OTHERWISE)


def apply_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any], kind: type) -> Any:
    """The operator that `ufunc` is on batches of type `kind`; a TypeError with the remedy if it is none."""
    if ufunc in OPERATORS and method == "__call__" and not kwargs:
        batch_first, batch_last = OPERATORS[ufunc]
        if isinstance(inputs[0], kind):
            return getattr(inputs[0], batch_first)(*inputs[1:])
        return getattr(inputs[1], batch_last)(inputs[0])
    name = ufunc.__name__
    if ufunc in OPERATORS and method == "__call__":
        given = ", ".join(kwargs)
        raise TypeError(
            f"numpy's {name} of encrypted numbers takes no {given}: the result is a new batch"
            " (write a = a + x for a += x)"
        )
    if ufunc is np.add and method == "reduce":
        name = "sum"
    elif method != "__call__":
        raise TypeError(f"numpy's {name}.{method} cannot compute with encrypted numbers: {OTHERWISE}")
    raise no_function(name)


def no_function(name: str) -> TypeError:
    """The error for numpy's function `name`."""
    return TypeError(f"numpy's {name} cannot compute with encrypted numbers: {remedy(name)}")


def no_attribute(name: str) -> AttributeError:
    """The error for a name that a batch has not, though numpy's arrays may have it."""
    if name.startswith("_") or not hasattr(np.ndarray, name):
        return AttributeError(f"a CipherBatch has no {name!r}")
    return AttributeError(f"a CipherBatch has no {name!r}, as numpy's arrays have: {remedy(name)}")
