"""The polynomials that stand for σ and exp on shares, where only sums and products can be taken.

    objective          P(z)                                          largest error on its domain
    logistic, linear   ½ + z/4                                       0.12 on −2 … 2 (tangent at 0)
    logistic, cubic    ½ + 0.155831·z − 0.001634·z³                  0.090 on −8 … 8 (the least for degree 3)
    logistic, quintic  ½ + 0.196596·z − 0.004821·z³ + 0.000044·z⁵    0.041 on −8 … 8 (the least for degree 5)
    squared error      z                                             0 everywhere
    Poisson            1.0416 + 1.0355·z + 0.4190·z² + … (degree 5)  0.046 on −3 … 3 (the least for degree 5)

The best coefficients come from linear programming over a grid of the domain: min t, |P(z_i) − f(z_i)| ≤ t
(`best` in the tests). Outside its domain a polynomial goes its own way. The cubic falls from |z| = 5.6 on and
crosses ½ again at 9.8: beyond, gradients have the wrong sign, and training drives such rows further out.
Those of degree 5 rise without end: gradients keep their sign and pull rows back, so that too high a learning
rate makes them overshoot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.objectives import Floats


@dataclass(frozen=True)
class Polynomial:
    """Coefficients c₀ … c_d, and the domain −limit … limit on which they were chosen."""

    coefficients: tuple[float, ...]
    limit: float

    @property
    def degree(self) -> int:
        """d."""
        return len(self.coefficients) - 1

    @property
    def is_quarter(self) -> bool:
        """Whether this is ½ + z/4."""
        return self.coefficients == LINEAR_SIGMOID.coefficients

    def __call__(self, z: Floats) -> Floats:
        return np.asarray(np.polynomial.polynomial.polyval(z, self.coefficients))


IDENTITY = Polynomial((0.0, 1.0), np.inf)
LINEAR_SIGMOID = Polynomial((0.5, 0.25), 2.0)
CUBIC_SIGMOID = Polynomial((0.5, 0.15583081, 0.0, -0.00163368), 8.0)
QUINTIC_SIGMOID = Polynomial((0.5, 0.19659647, 0.0, -0.00482114, 0.0, 0.00004383), 8.0)
EXPONENTIAL = Polynomial((1.04155196, 1.03552424, 0.41904323, 0.14240111, 0.06431428, 0.01261923), 3.0)


def polynomial_of(config: LinearConfig) -> Polynomial:
    """The polynomial of a training's link."""
    if config.objective == "reg:squarederror":
        return IDENTITY
    if config.objective == "count:poisson":
        return EXPONENTIAL
    return {"linear": LINEAR_SIGMOID, "cubic": CUBIC_SIGMOID, "quintic": QUINTIC_SIGMOID}[config.sigmoid]
