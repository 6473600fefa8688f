"""Optimisers over named float64 arrays at the active party: the same rules as PyTorch's SGD and Adam.

    sgd    v ← momentum·v + g,  w ← w − rate·v
    adam   m ← β₁·m + (1 − β₁)·g,  v ← β₂·v + (1 − β₂)·g²
           w ← w − rate·(m/(1 − β₁ᵗ)) / (√(v/(1 − β₂ᵗ)) + ε)

g is the mean gradient of a batch, its penalty included. On shares, SGD runs as `lr.steps.descend`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.lr.config import LinearConfig

Floats = NDArray[np.float64]


class Optimizer:
    """Keeps the moments of each name: at first zero."""

    def __init__(self, config: LinearConfig) -> None:
        self._config = config
        self.moments: dict[str, tuple[Floats, ...]] = {}
        self.steps = 0

    def step(self, weights: Mapping[str, Floats], gradients: Mapping[str, Floats], rate: float) -> None:
        """One step of all `weights`, in place."""
        self.steps += 1
        for name, gradient in gradients.items():
            if self._config.optimizer == "adam":
                change = self._adam(name, gradient)
            else:
                change = self._momentum(name, gradient)
            weights[name][...] -= rate * change

    def _momentum(self, name: str, gradient: Floats) -> Floats:
        (velocity,) = self.moments.get(name) or (np.zeros_like(gradient),)
        velocity = self._config.momentum * velocity + gradient
        self.moments[name] = (velocity,)
        return velocity

    def _adam(self, name: str, gradient: Floats) -> Floats:
        first, second = self._config.momentum, self._config.adam_beta_2
        m, v = self.moments.get(name) or (np.zeros_like(gradient), np.zeros_like(gradient))
        m = first * m + (1 - first) * gradient
        v = second * v + (1 - second) * gradient**2
        self.moments[name] = (m, v)
        root = np.sqrt(v / (1 - second**self.steps)) + self._config.adam_epsilon
        return np.asarray(m / (1 - first**self.steps) / root)

    def dump(self) -> dict[str, Floats]:
        """The moments as arrays by name, for a checkpoint."""
        return {
            f"moment {place} {name}": array
            for name, arrays in self.moments.items()
            for place, array in enumerate(arrays)
        }

    def load(self, arrays: Mapping[str, Floats], steps: int) -> None:
        """The inverse of `dump`."""
        self.steps = steps
        found: dict[str, dict[int, Floats]] = {}
        for key, array in arrays.items():
            kind, place, name = key.split(" ", 2) if key.startswith("moment ") else ("", "", "")
            if kind:
                found.setdefault(name, {})[int(place)] = array
        self.moments = {name: tuple(parts[i] for i in sorted(parts)) for name, parts in found.items()}
