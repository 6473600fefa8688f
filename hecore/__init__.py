"""hecore: Paillier homomorphic encryption over batches of numbers.

    >>> import numpy as np, hecore
    >>> key = hecore.generate_key(2048)
    >>> x = hecore.Encryptor(key.public).encrypt(np.array([1.5, -2.25, 3.0]))
    >>> y = (x * 2 + np.array([1.0, 1.0, 1.0])).sum()
    >>> hecore.Decryptor(key).decrypt(y)
    7.5

`hecore.algorithms` trains models between parties on top of it, `hecore.bench` measures it.
"""

from pkgutil import extend_path

# A checkout's hecore/ shadows an installed one when Python starts in the repository root; the installed
# sub-packages (kernels, algorithms, bench) are then found along sys.path.
__path__ = extend_path(__path__, __name__)

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
