"""What stands on a source layer at the active party: a loss, or a neural network with a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.lr.objectives import Objective
from hecore.algorithms.objectives import Floats

if TYPE_CHECKING:
    import torch

#: logits (rows, outputs), dL/dZ (rows, columns), dL/dweights by name; sums over rows, each times its weight
Backward = tuple[Floats, Floats, dict[str, Floats]]


class Top(Protocol):
    """A function of Z, (rows, columns), in the clear.

    columns       K, of the source layer
    objective     of the outputs
    random_start  whether the source layer starts at random weights, as hidden units must, or at zero
    weights       the parameters by name; the optimiser changes the arrays in place
    """

    columns: int
    objective: Objective
    random_start: bool
    weights: dict[str, NDArray[Any]]

    def outputs(self, z: Floats) -> Floats:
        """Logits of rows that are scored."""

    def backward(self, z: Floats, targets: Floats, weight: Floats, step: int) -> Backward:
        """Logits and derivatives of rows that are trained on."""

    def dump(self) -> dict[str, NDArray[Any]]:
        """All that changes in training, as copies by name."""

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of `dump`."""


class LinearTop:
    """Nothing but the loss: Z are the logits."""

    random_start = False

    def __init__(self, objective: Objective) -> None:
        self.objective, self.columns = objective, objective.outputs
        self.weights: dict[str, NDArray[Any]] = {}

    def outputs(self, z: Floats) -> Floats:
        """See Top."""
        return z

    def backward(self, z: Floats, targets: Floats, weight: Floats, step: int) -> Backward:
        """See Top."""
        return z, self.objective.residual(z, targets) * weight[:, None], {}

    def dump(self) -> dict[str, NDArray[Any]]:
        """See Top."""
        return {}

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """See Top."""


class TorchTop:
    """A torch module from (rows, columns) to logits (rows, outputs).

    The derivative of the loss by the logits is the objective's; torch carries it to Z and the parameters.
    Its random numbers (dropout) follow from the step, so that a restarted training repeats them.
    """

    random_start = True

    def __init__(self, module: torch.nn.Module, columns: int, objective: Objective) -> None:
        self.module, self.columns, self.objective = module, columns, objective
        self.weights: dict[str, NDArray[Any]] = {
            name: parameter.detach().numpy() for name, parameter in module.named_parameters()
        }
        self._dtype = next(module.parameters()).dtype

    def outputs(self, z: Floats) -> Floats:
        """See Top."""
        import torch

        self.module.eval()
        with torch.no_grad():
            return self._numbers(self.module(torch.from_numpy(z).to(self._dtype)))

    def backward(self, z: Floats, targets: Floats, weight: Floats, step: int) -> Backward:
        """See Top."""
        import torch

        self.module.train()
        self.module.zero_grad()
        inputs = torch.from_numpy(z).to(self._dtype).requires_grad_()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step)
            logits = self.module(inputs)
        outputs = self._numbers(logits.detach())
        errors = self.objective.residual(outputs, targets) * weight[:, None]
        logits.backward(torch.from_numpy(errors).to(self._dtype))
        gradients = {
            name: self._numbers(parameter.grad)
            for name, parameter in self.module.named_parameters()
            if parameter.grad is not None
        }
        return outputs, self._numbers(inputs.grad), gradients

    def dump(self) -> dict[str, NDArray[Any]]:
        """See Top; buffers such as running means are in it."""
        return {name: tensor.numpy().copy() for name, tensor in self.module.state_dict().items()}

    def load(self, arrays: dict[str, NDArray[Any]]) -> None:
        """See Top."""
        for name, tensor in self.module.state_dict().items():
            tensor.numpy()[...] = arrays[name]

    @staticmethod
    def _numbers(tensor: Any) -> Floats:
        return np.asarray(tensor.numpy(), dtype=np.float64)
