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


def on_device(
    method: Callable[Concatenate[Any, Parameters], Result],
) -> Callable[Concatenate[Any, Parameters], Result]:
    """A method during which the first device is the active one."""

    @wraps(method)
    def wrapper(self: HostForm, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
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
        words = 2 * x.modulus.width
        bounds = [to_words(value, words) for value in (x.modulus.value, x.modulus.value // 2 + 1)]

        def lift(numbers: Array) -> None:
            modulus, half = (self.home.device.from_host(bound) for bound in bounds)
            self.home.call_plain("centre", len(numbers), numbers, words, modulus, half)

        return self._export(x, lift)

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
