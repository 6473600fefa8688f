"""Every error that hecore raises on purpose.

    HecoreError
    ├── BackendUnavailable   (RuntimeError)   a backend asked for by name cannot run here
    ├── DeviceLost           (RuntimeError)   a device failed; what was in its memory is gone
    ├── OutOfMemory          (MemoryError)    a device has no room for a batch, not even in small pieces
    ├── InvalidSetting       (ValueError)     an environment variable with a value it cannot have
    ├── NotInvertible        (ValueError)     an element shares a factor with its modulus
    ├── InvalidKey           (ValueError)     a key that breaks a condition of Paillier
    │   └── InsecureKey                       a key that is too short to protect anything
    ├── KeyFileError         (ValueError)     a key file: permissions, passphrase, format
    ├── EncodingError        (ValueError)     a value that is no number: NaN, infinity, wrong type
    │   └── EncodingOverflow (OverflowError)  a value that does not fit in its slot or in the key
    ├── InvalidCiphertext    (ValueError)     c outside 0 < c < n² or gcd(c, n) ≠ 1
    ├── WireFormatError      (ValueError)     bytes that are not this format: truncated, foreign
    ├── KeyMismatch          (ValueError)     operands under different keys
    ├── ScaleMismatch        (ValueError)     operands with different fixed-point scales
    ├── ShapeMismatch        (ValueError)     operands whose shapes do not fit
    ├── LayoutMismatch       (ValueError)     an operation that packed slots do not allow
    └── SlotOverflow         (OverflowError)  a sum that could leave its slots

`hecore.algorithms.errors` continues the tree. All are values a caller can act on: each message names the
value, the place and the remedy.
"""

from __future__ import annotations

from .kernels.errors import (
    BackendUnavailable,
    DeviceLost,
    HecoreError,
    InvalidSetting,
    NotInvertible,
    OutOfMemory,
)


class InvalidKey(HecoreError, ValueError):
    """A key that breaks a condition of Paillier: even, prime, a small factor, wrong size."""


class InsecureKey(InvalidKey):
    """A key that is too short to protect anything, without the mark insecure_test_key=True."""


class KeyFileError(HecoreError, ValueError):
    """A key file that cannot be used: readable by others, wrong passphrase, damaged, foreign."""


class EncodingError(HecoreError, ValueError):
    """A value that cannot be encoded: NaN, infinity, not a number."""


class EncodingOverflow(EncodingError, OverflowError):
    """A value that does not fit in its slot, or in the plaintext space of the key."""


class InvalidCiphertext(HecoreError, ValueError):
    """A ciphertext outside 0 < c < n², or with gcd(c, n) ≠ 1. `index` is its place in the batch."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(
            f"ciphertext {index} is invalid: {reason}; the sender must encrypt under this key again"
        )
        self.index = index
        self.reason = reason

    def __reduce__(self) -> tuple[type[InvalidCiphertext], tuple[int, str]]:
        return type(self), (self.index, self.reason)  # an error may cross to another process


class WireFormatError(HecoreError, ValueError):
    """Bytes that are not in the wire format: truncated, foreign, of another version."""


class KeyMismatch(HecoreError, ValueError):
    """Operands, or a ciphertext and a key, that belong to different key pairs."""


class ScaleMismatch(HecoreError, ValueError):
    """Operands with different fixed-point scales."""


class ShapeMismatch(HecoreError, ValueError):
    """Operands whose shapes do not fit."""


class LayoutMismatch(HecoreError, ValueError):
    """An operation that packed slots do not allow, or operands with different layouts."""


class SlotOverflow(HecoreError, OverflowError):
    """A result that could leave its slots: more terms than the layout has headroom for."""


__all__ = [
    "BackendUnavailable",
    "DeviceLost",
    "EncodingError",
    "EncodingOverflow",
    "HecoreError",
    "InsecureKey",
    "InvalidCiphertext",
    "InvalidKey",
    "InvalidSetting",
    "KeyFileError",
    "KeyMismatch",
    "LayoutMismatch",
    "NotInvertible",
    "OutOfMemory",
    "ScaleMismatch",
    "ShapeMismatch",
    "SlotOverflow",
    "WireFormatError",
]
