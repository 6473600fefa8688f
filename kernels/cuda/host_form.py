"""Host ↔ device: limbs in and out, checked and converted on the device, in pieces that fit its memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import checks
from .. import limbs as lb
from ..backend import Residues
from ..limbs import Limbs
from ..modulus import Modulus
from .batch import CudaResidues, own
from .constants import to_words
from .device import Array
from .engine import Engine

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Self = TypeVar("Self", bound="HostForm")


def on_device(
    method: Callable[Concatenate[Self, Parameters], Result],
) -> Callable[Concatenate[Self, Parameters], Result]:
    """A method during which the first device is the active one."""

    @wraps(method)
    def wrapper(self: Self, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with self.home.device.active():
            return method(self, *args, **kwargs)

    return wrapper


class HostForm:
    """The operations of CudaBackend between limbs on the host and rows on its first device, `home`."""

    def __init__(self, home: Engine) -> None:
        self.home = home

    @on_device
    def from_limbs(self, modulus: Modulus, limbs: Limbs) -> CudaResidues:
        if limbs.shape[1] != modulus.width:
            checks.check_canonical(modulus, limbs)
        k = self.home.constants(modulus)

        def bring_in(numbers: Array, out: Array, first: int) -> None:
            outside = self.home.first_not_below(numbers, modulus.value)
            if outside is not None:
                raise ValueError(f"element {first + outside} is not below the modulus")
            self.home.import_words(k, numbers, out)

        return self._import(modulus, limbs, bring_in)

    @on_device
    def from_signed(self, modulus: Modulus, limbs: Limbs) -> CudaResidues:
        # Of fewer bits than the modulus, every magnitude is below it.
        if limbs.shape[1] * lb.LIMB_BITS > modulus.bits:
            checks.check_magnitude(modulus, lb.absolute(limbs))
        k = self.home.constants(modulus)
        return self._import(modulus, limbs, lambda numbers, out, _: self.home.import_signed(k, numbers, out))

    @on_device
    def to_limbs(self, x: Residues) -> Limbs:
        return self._export(x, lambda numbers: None)

    @on_device
    def to_signed(self, x: Residues) -> Limbs:
        return self._export(x, lambda numbers: self._centre(x.modulus, numbers))

    def _centre(self, modulus: Modulus, numbers: Array) -> None:
        """Canonical words uint32[count, words] become those of the centred lift, in place."""
        words = numbers.shape[1]
        bounds = (modulus.value, modulus.value // 2 + 1)
        uploaded = (self.home.device.from_host(to_words(bound, words)) for bound in bounds)
        self.home.call_plain("centre", len(numbers), numbers, words, *uploaded)

    def _import(
        self, modulus: Modulus, limbs: Limbs, bring_in: Callable[[Array, Array, int], None]
    ) -> CudaResidues:
        """A batch filled piece by piece: bring_in(words on the device, rows, number of the first)."""
        k, device = self.home.constants(modulus), self.home.device
        out = self.home.allocate(k, len(limbs))

        def piece(first: int, last: int) -> None:
            part = np.ascontiguousarray(limbs[first:last], dtype=lb.LIMB_DTYPE).view(np.uint32)
            bring_in(device.from_host(part), out[first:last], first)

        self.home.in_pieces(len(limbs), 4 * (2 * limbs.shape[1] + k.row), piece)
        return CudaResidues(k, out)

    def _export(self, x: Residues, finish: Callable[[Array], None]) -> NDArray[Any]:
        """Canonical integers as limbs, each piece finished on the device before it is copied."""
        batch = own(x)
        width = batch.modulus.width
        out = np.empty((len(batch), width), dtype=lb.LIMB_DTYPE)

        def piece(first: int, last: int) -> None:
            plain = self.home.export_words(batch.constants, batch.rows[first:last], 2 * width)
            finish(plain)
            self.home.device.to_host(plain, out[first:last].view(np.uint32))

        self.home.in_pieces(len(batch), 8 * width, piece)
        return out
