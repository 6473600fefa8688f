"""Reconstruction from recorded messages, with three parties and every objective: it works where masks are
missing, and fails where they are there.

The attacker is one party. It has all messages that came to it, its own key and its own data, and it knows the
protocol: it reads every masked number, takes off what its labels explain, and compares the vectors with the
logits and residuals of the same training in the clear. An equal or affinely related vector fits with R² = 1.
"""

from __future__ import annotations

import numpy as np
import pytest

import hecore
from hecore import CipherBatch, Decryptor
from hecore.algorithms.lr import messages, steps
from hecore.algorithms.lr.shared import seeds
from hecore.kernels import limbs as lb

from .conftest import clear_steps, fit_star, problem, small_config, split_table, star
from .test_transcript import Recorder, affine_fit, scaled

ROWS, BATCH, WIDTHS = 80, 40, (2, 2, 2)
NAMES = ("active", "passive 1", "passive 2")
#: Independent vectors of 40 rows reach this R² once in 10^12 tries.
SUSPICIOUS = 0.75
OBJECTIVES = {
    "binary:logistic": {"sigmoid": "cubic"},
    "reg:squarederror": {},
    "count:poisson": {},
}


@pytest.fixture(scope="module")
def keys():
    return [hecore.generate_key(1024, insecure_test_key=True) for _ in NAMES]


def record(keys, objective, options, weight=None):
    """All channels' recorders, and the steps of the same training in the clear."""
    config = small_config(objective=objective, epochs=1, batch_size=BATCH, **options)
    data = split_table(problem(ROWS, sum(WIDTHS), objective), WIDTHS)
    mine, theirs = star(3)
    ends = [Recorder(end) for end in (*mine, *theirs)]
    fit_star(data, config, keys, sample_weight=weight, channels=(ends[:2], ends[2:]))
    return ends, list(clear_steps(*data, config=config, weight=weight)), data


def readable(message, key):
    """The integers that the receiver of a message reads, or None."""
    if isinstance(message, messages.MaskedProduct):
        batch = CipherBatch.from_bytes(message.payload[0], key.public)
        return Decryptor(key).decrypt_fixed(batch).to_integers()
    if isinstance(message, messages.Reshared):
        return lb.to_signed_ints(lb.from_bytes(message.payload[0], len(message.payload[0]) // 8 // BATCH))
    return None


def without(vector, known):
    """What is left of a vector when the best fit by known ones and a constant is taken off."""
    basis = np.column_stack([np.ones(len(vector)), *known])
    return vector - basis @ np.linalg.lstsq(basis, vector, rcond=None)[0]


def fits(recorded, keys):
    """The best fit of what each party reads with each vector by row: {(reader, leg, secret): R²}."""
    ends, truth, data = recorded
    found = {}
    for end in ends:
        reader = NAMES.index(end.peer)
        for message in end.sent:
            numbers = readable(message, keys[reader])
            if numbers is None or message.leg == "backward":
                continue
            step = truth[message.batch]
            parts = zip(NAMES, step.partial, strict=True)
            secrets = {f"logits of {name}": part[:, 0] for name, part in parts}
            secrets |= {"logits": step.logits[:, 0], "residuals": step.residual[:, 0]}
            known = [data[0].label[step.rows]] if reader == 0 else []
            seen = without(scaled(numbers), known)
            for secret, values in secrets.items():
                hidden = without(values, known)
                if hidden.std() > 1e-6 * max(values.std(), 1e-6):  # else it follows from what is known
                    name = (NAMES[reader], message.leg, secret)
                    found[name] = max(found.get(name, 0.0), affine_fit(seen, hidden))
    return found


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nothing_that_a_party_reads_is_an_image_of_logits_or_residuals(keys, objective):
    found = fits(record(keys, objective, OBJECTIVES[objective]), keys)
    assert {reader for reader, _, _ in found} == {"active", "passive 1"}  # nobody sends numbers to P₂
    assert len(found) >= 10
    assert max(found.values()) < SUSPICIOUS, max(found, key=found.get)


def test_weighted_rows_are_covered_as_well(keys):
    weight = np.random.default_rng(0).uniform(0.2, 5, ROWS)
    found = fits(record(keys, "reg:squarederror", {}, weight), keys)
    assert ("active", "link", "residuals") in found
    assert max(found.values()) < SUSPICIOUS, max(found, key=found.get)


@pytest.fixture
def without_masks(monkeypatch):
    def nothing(shape, bits, scale_bits, draw=None):
        return hecore.FixedPoint.zeros(shape, scale_bits)

    monkeypatch.setattr(steps, "random_mask", nothing)


def test_without_masks_the_attacks_find_partial_logits_and_residuals(keys, without_masks):
    found = fits(record(keys, "binary:logistic", OBJECTIVES["binary:logistic"]), keys)
    sure = {name for name, fit in found.items() if fit > 1 - 1e-6}
    assert ("active", "forward", "logits of passive 1") in sure
    assert ("active", "forward", "logits of passive 2") in sure
    assert ("passive 1", "forward", "logits of active") in sure
    assert ("active", "link", "residuals") in sure  # σ(z) − y, once its labels are taken off


def test_with_its_seed_a_colluding_party_opens_the_logits_of_another(keys, monkeypatch):
    """What THREAT_MODEL.md says of the active and a passive party together; the active one alone cannot."""
    given = {}
    original = seeds.draws_of

    def remembered(seed, model, party):
        given[party] = (seed, model, party)
        return original(seed, model, party)

    monkeypatch.setattr(seeds, "draws_of", remembered)
    ends, truth, _ = record(keys, "reg:squarederror", {})
    sent = next(end for end in ends if end.me == "passive 2").sent
    # All weights are zero before the first step; the second batch has something to see.
    product = next(m for m in sent if isinstance(m, messages.MaskedProduct) and m.batch == 1)
    assert product.leg == "forward"
    covered = readable(product, keys[0])
    layout = CipherBatch.from_bytes(product.payload[0], keys[0].public).layout
    draw = original(*given["passive 2"])("forward 0 1")
    mask = steps.random_mask((BATCH, 1), layout.value_bits, 0, draw).to_integers().ravel()
    secret = truth[1].partial[2][:, 0]
    assert affine_fit(scaled(covered), secret) < SUSPICIOUS
    assert affine_fit(scaled(covered - mask), secret) > 1 - 1e-6
