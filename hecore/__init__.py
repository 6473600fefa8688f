"""hecore: Paillier homomorphic encryption over batches of numbers.

    >>> import numpy as np, hecore
    >>> key = hecore.generate_key(2048)
    >>> x = hecore.Encryptor(key.public).encrypt(np.array([1.5, -2.25, 3.0]))
    >>> y = (x * 2 + np.array([1.0, 1.0, 1.0])).sum()
    >>> hecore.Decryptor(key).decrypt(y)
    7.5

`hecore.algorithms` trains models between parties on top of it, `hecore.bench` measures it.
"""

from pathlib import Path as _Path

# Where Python starts in the root of a checkout, its hecore/ stands in front of an installed one. The other
# three folders lie beside it and must be those of the same checkout: installed ones may be older.
if (_root := _Path(__file__).resolve().parent.parent).joinpath("kernels", "__init__.py").is_file():
    __path__.insert(1, str(_root))

from .ciphertext import CipherBatch, concatenate
from .decryptor import Decryptor
from .encoding import FixedPoint, decode, encode
from .encryptor import Encryptor
from .errors import (
    BackendUnavailable,
    DeviceLost,
    EncodingError,
    EncodingOverflow,
    HecoreError,
    InsecureKey,
    InvalidCiphertext,
    InvalidKey,
    InvalidSetting,
    KeyFileError,
    KeyMismatch,
    LayoutMismatch,
    NotInvertible,
    OutOfMemory,
    ScaleMismatch,
    ShapeMismatch,
    SlotOverflow,
    WireFormatError,
)
from .histogram import histogram
from .kernels import get_backend
from .keyfile import load_key, save_key
from .keys import KeySpec, PrivateKey, PublicKey, generate_key
from .meter import Meter
from .packing import SlotLayout

__version__ = "0.1.0"

__all__ = [
    "BackendUnavailable",
    "CipherBatch",
    "Decryptor",
    "DeviceLost",
    "EncodingError",
    "EncodingOverflow",
    "Encryptor",
    "FixedPoint",
    "HecoreError",
    "InsecureKey",
    "InvalidCiphertext",
    "InvalidKey",
    "InvalidSetting",
    "KeyFileError",
    "KeyMismatch",
    "KeySpec",
    "LayoutMismatch",
    "Meter",
    "NotInvertible",
    "OutOfMemory",
    "PrivateKey",
    "PublicKey",
    "ScaleMismatch",
    "ShapeMismatch",
    "SlotLayout",
    "SlotOverflow",
    "WireFormatError",
    "concatenate",
    "decode",
    "encode",
    "generate_key",
    "get_backend",
    "histogram",
    "load_key",
    "save_key",
]
