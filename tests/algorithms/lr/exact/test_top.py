"""A neural network on the source layer: trained jointly, it is the network trained in one place."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hecore.algorithms.lr.exact.top import TorchTop
from hecore.algorithms.lr.objectives import Objective

from .conftest import ROWS, exact_config, label_of, train_layer, with_one

UNITS = 6


def test_hecore_does_not_import_torch():
    code = "import sys, hecore.algorithms.lr.exact.top; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def network(torch, outputs, dtype=None):
    torch.manual_seed(1)
    layers = torch.nn.Tanh(), torch.nn.Linear(UNITS, 4), torch.nn.ReLU(), torch.nn.Linear(4, outputs)
    return torch.nn.Sequential(*layers).to(dtype or torch.float64)


@pytest.mark.parametrize(
    ("objective", "optimizer", "outputs"),
    [("binary:logistic", "sgd", 1), ("multi:softprob", "adam", 3)],
)
def test_the_joint_network_is_the_one_trained_in_one_place(exact_keys, objective, optimizer, outputs):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")
    rng = np.random.default_rng(3)
    parts = [rng.normal(size=(ROWS, count)) for count in (3, 2, 2)]
    label = label_of(objective, np.hstack(parts))
    config = exact_config(objective=objective, optimizer=optimizer, alpha=0.0)
    top = TorchTop(network(torch, outputs), UNITS, Objective(name=objective, outputs=outputs))
    layer = train_layer(config, parts, label, exact_keys, top=top)

    first = torch.nn.Parameter(torch.from_numpy(layer.start.copy()))
    module = network(torch, outputs)
    x = torch.from_numpy(np.column_stack([with_one(parts[0]), *parts[1:]]))
    make = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    extra = {"momentum": 0.9} if optimizer == "sgd" else {}
    solver = make([first, *module.parameters()], lr=0.1, **extra)
    orders = np.random.default_rng(config.seed)
    for epoch in range(config.epochs):
        order = orders.permutation(ROWS)
        for places in np.array_split(np.arange(ROWS), 2):
            rows = order[places]
            solver.param_groups[0]["lr"] = config.rate(epoch)
            solver.zero_grad()
            loss_of(torch, objective, module(x[rows] @ first), label, rows).backward()
            solver.step()
    assert np.abs(first.detach().numpy() - layer.start).max() > 1e-4
    np.testing.assert_allclose(layer.weights, first.detach().numpy(), atol=1e-6)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(top.weights[name], parameter.detach().numpy(), atol=1e-6)


def loss_of(torch, objective, logits, label, rows):
    y = torch.from_numpy(label)
    if objective == "binary:logistic":
        return torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], y[rows])
    if objective == "multi:softprob":
        return torch.nn.functional.cross_entropy(logits, y[rows].long())
    targets = ((y - y.mean()) / y.std(correction=0))[rows]
    return ((logits[:, 0] - targets) ** 2).mean() / 2


def test_what_a_network_keeps_can_be_saved_and_loaded():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")
    objective = Objective(name="binary:logistic")

    def normalised():
        torch.manual_seed(2)
        layers = torch.nn.BatchNorm1d(UNITS), torch.nn.Dropout(0.5), torch.nn.Linear(UNITS, 1)
        return TorchTop(torch.nn.Sequential(*layers), UNITS, objective)

    first, second = normalised(), normalised()
    z = np.random.default_rng(0).normal(size=(20, UNITS))
    target, weight = np.ones((20, 1)), np.ones(20)
    trained = [first.backward(z, target, weight, step) for step in (0, 1, 0)]
    np.testing.assert_array_equal(trained[0][0], trained[2][0])  # what is dropped follows from the step
    assert not np.array_equal(trained[0][0], trained[1][0])
    assert not np.array_equal(first.outputs(z), second.outputs(z))  # running means have moved
    second.load(first.dump())
    np.testing.assert_array_equal(first.outputs(z), second.outputs(z))
