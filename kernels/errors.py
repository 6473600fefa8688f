"""Errors of the arithmetic layer, and the root of every error that hecore raises.

HecoreError
├── BackendUnavailable   (RuntimeError)  a backend asked for by name cannot run here
├── DeviceLost           (RuntimeError)  a device failed; what was in its memory is gone
├── OutOfMemory          (MemoryError)   a device has no room for a batch, not even in small pieces
├── InvalidSetting       (ValueError)    an environment variable with a value it cannot have
├── NotInvertible        (ValueError)    an element shares a factor with its modulus
└── hecore.errors, hecore.algorithms.errors: the layers above
"""

from __future__ import annotations


class HecoreError(Exception):
    """Root of every error raised on purpose by this package."""


class BackendUnavailable(HecoreError, RuntimeError):
    """A backend that was asked for by name cannot run on this machine; the message says why."""


class DeviceLost(HecoreError, RuntimeError):
    """A device failed in mid-run. Batches that live on it are gone; what is on the host is not."""


class OutOfMemory(HecoreError, MemoryError):
    """A device has no room for a batch. Nothing is lost: smaller batches may still fit."""


class InvalidSetting(HecoreError, ValueError):
    """An environment variable with a value it cannot have; the message names both."""


class NotInvertible(HecoreError, ValueError):
    """An element has no inverse modulo its modulus.

    `index` is the position of the first such element in its batch.
    """

    def __init__(self, index: int) -> None:
        super().__init__(f"element {index} of the batch shares a factor with the modulus")
        self.index = index

    def __reduce__(self) -> tuple[type[NotInvertible], tuple[int]]:
        return type(self), (self.index,)  # an error may cross to another process
