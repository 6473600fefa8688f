"""The bounds that masks and slots are made for, at the extremes that the configuration allows."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import hecore
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.lr import LinearConfig
from hecore.algorithms.lr.bounds import (
    COEFFICIENT_BITS,
    LINK_BITS,
    ROW_WEIGHT_BITS,
    ROW_WEIGHT_LIMIT_BITS,
    Bounds,
    Leg,
    Packing,
)
from hecore.algorithms.lr.messages import Terms
from hecore.algorithms.lr.polynomials import polynomial_of
from hecore.algorithms.lr.shared.link import cofactor, powers_wanted

CONFIGS = [
    LinearConfig(),
    LinearConfig(sigmoid="cubic"),
    LinearConfig(sigmoid="quintic", logit_limit_bits=5, feature_bits=8),
    LinearConfig(objective="reg:squarederror", weight_bits=48, weight_limit_bits=1),
    LinearConfig(objective="count:poisson"),
    LinearConfig(objective="multi:logistic", logit_limit_bits=32),
]


def bounds_of(config: LinearConfig, weighted: bool, passive: int = 2, columns: int = 40) -> Bounds:
    names = tuple(f"P{k}" for k in range(passive))
    terms = Terms(
        model="0" * 32,
        outputs=1,
        passive=names,
        columns=columns,
        weighted=weighted,
        payload=(b"",) * passive,
    )
    return Bounds(config, terms, polynomial_of(config), batch_rows=100)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("config", CONFIGS)
def test_no_number_that_the_limits_allow_is_beyond_its_bound(config, weighted):
    bounds = bounds_of(config, weighted)
    feature = (1 << bounds.feature_bits) - 1
    weight = (1 << (config.weight_bits + config.weight_limit_bits)) - 1
    limit = (1 << (config.feature_bits + config.weight_bits + config.logit_limit_bits)) - 1
    product = min(feature * weight * bounds.terms.columns, limit)
    assert product < 1 << bounds.forward_bits
    logit = bounds.parties * ((product >> config.feature_bits) + 1)
    assert logit < 1 << bounds.logit_bits
    omega = (1 << (ROW_WEIGHT_BITS + ROW_WEIGHT_LIMIT_BITS)) - 1 if weighted else 1
    target = (1 << (bounds.residual_scale + config.logit_limit_bits)) * (omega if weighted else 1)
    target >>= ROW_WEIGHT_BITS if weighted else 0
    if bounds.by_link:
        largest = (logit >> (config.weight_bits - LINK_BITS)) + 1
        degree = bounds.polynomial.degree
        terms = [
            (abs(round(c * 2**COEFFICIENT_BITS)) << LINK_BITS * (degree - power)) * largest**power
            for power, c in enumerate(bounds.polynomial.coefficients)
        ]
        value = omega * sum(terms)
        assert value < 1 << bounds.link_bits
        value >>= bounds.link_scale - bounds.residual_scale
    else:
        value = logit + (1 << (bounds.residual_scale - 1))
    residual = value + target
    assert residual < 1 << bounds.residual_bits
    assert bounds.batch_rows * feature * residual < 1 << bounds.backward_bits


@pytest.mark.parametrize("config", CONFIGS)
def test_masks_are_wider_than_what_they_cover(config):
    public = hecore.generate_key(2048).public
    bounds = bounds_of(config, weighted=True)
    for leg in (bounds.forward_leg(1000), bounds.backward_leg(), bounds.link_leg()):
        for outputs in (1, 3, 40):
            packing = Packing.of(public, leg, config, outputs)
            assert packing.mask_bits == leg.bound_bits + config.mask_bits
            assert packing.slot_bits >= packing.mask_bits + 2
            assert outputs == 1 or packing.slot_bits >= leg.share_bits + 2
            assert packing.groups(outputs) * packing.outputs >= outputs
            for layout in (packing.of_row, packing.as_one, packing.of_reply):
                layout.check_key(public)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("config", [c for c in CONFIGS if polynomial_of(c).degree > 1])
def test_powers_of_two_wide_shares_make_the_polynomial_of_their_sum(config, weighted):
    """Σ_j a^j·q_j(s) over ℤ, with a as wide as shares are, is Σ_i c_i·z^i at one scale."""
    bounds = bounds_of(config, weighted)
    rng = np.random.default_rng(0)
    logits = np.array([int(v) for v in rng.integers(-(2**18), 2**18, 20)], dtype=object)
    own = np.array([int(rng.integers(2**62)) << 33 for _ in logits], dtype=object)
    peer = logits - own
    total = sum(own**power * cofactor(peer, power, bounds) for power in powers_wanted(bounds))
    if not weighted:
        total = total + cofactor(peer, 0, bounds)
    degree = bounds.polynomial.degree
    wanted = bounds.polynomial(logits.astype(np.float64) / 2**LINK_BITS)
    found = np.array([float(value) for value in total]) / 2.0 ** (COEFFICIENT_BITS + LINK_BITS * degree)
    np.testing.assert_allclose(found, wanted, atol=2.0**-18 * 2.0**12)


def test_a_share_of_weights_keeps_its_bound_over_a_long_training():
    """Steps at the largest rate, every gradient share at its largest, all of one sign."""
    config = msgspec.structs.replace(CONFIGS[0], alpha=0.0)
    bounds, steps = bounds_of(config, weighted=False), 500
    scale = config.feature_bits + bounds.residual_scale
    gradient = 2.0 ** (bounds.backward_bits + config.mask_bits - scale + config.weight_bits)
    velocity = weight = 0.0
    for _ in range(steps):
        velocity = config.momentum * velocity + gradient
        weight += config.learning_rate * velocity
    assert weight < 2.0 ** bounds.weight_share_bits(steps)


def test_a_key_without_room_for_one_number_is_refused():
    public = hecore.generate_key(512, insecure_test_key=True).public
    with pytest.raises(ConfigurationError, match="the forward leg needs numbers of 516 bits"):
        Packing.of(public, Leg("forward", 450, 10), LinearConfig(mask_bits=64), 1)
    assert Packing.of(public, Leg("forward", 450, 10), LinearConfig(mask_bits=40), 1).rows == 1
