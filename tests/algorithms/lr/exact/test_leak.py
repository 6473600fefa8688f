"""What mode `exact` tells: to the active party what is stated and no more, to a passive one nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hecore import CipherBatch, Decryptor, FixedPoint
from hecore.algorithms.lr import messages
from hecore.algorithms.lr.exact import steps
from hecore.algorithms.lr.exact.active import ActiveTraining
from hecore.algorithms.lr.exact.masks import CancellingMasks
from hecore.algorithms.lr.exact.top import LinearTop
from hecore.algorithms.lr.objectives import Objective

from .conftest import ROWS, exact_config, label_of, train_layer, with_one

#: Full batches without momentum: what follows from what is easily written down.
PLAIN = {"batch_size": ROWS, "momentum": 0.0, "alpha": 0.0, "learning_rate_decay": 1.0}


class Watching(LinearTop):
    """The active party, writing down what it has anyway: Z and dL/dZ of every step."""

    def __init__(self):
        super().__init__(Objective(name="binary:logistic"))
        self.logits, self.errors = [], []

    def backward(self, z, targets, weight, step):
        logits, errors, gradients = super().backward(z, targets, weight, step)
        self.logits.append(z[:, 0].copy())
        self.errors.append(errors[:, 0].copy())
        return logits, errors, gradients


def watched(keys, config, parts, label):
    """Z and dL/dZ of full batches in the order of the rows, (rows, epochs); and the layer."""
    top = Watching()
    layer = train_layer(config, parts, label, keys, top=top)
    orders = np.random.default_rng(config.seed)
    found = []
    for vectors in zip(top.logits, top.errors, strict=True):
        order = orders.permutation(ROWS)
        places = np.argsort(order)
        found.append([vector[places] for vector in vectors])
    logits, errors = (np.array(columns).T for columns in zip(*found, strict=True))
    return logits, errors, layer


def parts_and_label(*counts, seed=1):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(ROWS, count)) for count in counts]
    return parts, label_of("binary:logistic", np.hstack(parts), seed)


def rotation(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def others_part(config, own, logits, errors):
    """Z minus the active party's own part, which it can follow: SGD without momentum from zero."""
    x = with_one(own)
    before = np.cumsum(errors, axis=1) - errors
    return logits + config.learning_rate / ROWS * x @ (x.T @ before)


# --- the active party ---------------------------------------------------------------------------------


def test_the_stated_leak_sgd_gives_inner_products_of_all_rows(exact_keys):
    """Z − own part = X·W and W = −rate/n·Xᵀ·Σ errors: S = (XXᵀ)·C with S and C known; Nyström gives XXᵀ."""
    (own, other), label = parts_and_label(2, 3)
    config = exact_config(**PLAIN, epochs=8, learning_rate=2.0)
    logits, errors, _ = watched(exact_keys, config, [own, other], label)
    seen = others_part(config, own, logits, errors)
    known = -config.learning_rate / ROWS * (np.cumsum(errors, axis=1) - errors)
    gram = seen @ np.linalg.pinv(known.T @ seen, rcond=1e-9) @ seen.T
    np.testing.assert_allclose(gram, other @ other.T, atol=1e-3)
    # One number more about a column, and the rotation is gone: all features of a party are known.
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    found = vectors[:, -3:] * np.sqrt(values[-3:])
    turn = np.linalg.lstsq(found[:3], other[:3], rcond=None)[0]  # three rows that the attacker knows
    np.testing.assert_allclose(found @ turn, other, atol=1e-2)


def test_sgd_gives_no_more_a_rotated_table_looks_the_same(exact_keys):
    (own, other), label = parts_and_label(2, 3)
    config = exact_config()
    views = []
    for columns in (other, other @ rotation(3)):
        top = Watching()
        train_layer(config, [own, columns], label, exact_keys, top=top)
        views.append(np.concatenate([*top.logits, *top.errors]))
    np.testing.assert_allclose(views[0], views[1], atol=1e-6)


def test_the_stated_leak_adam_gives_the_columns_themselves(exact_keys):
    """W is known in P's secret order and signs, and Z − own part = X·W: as many epochs as columns suffice."""
    (own, other), label = parts_and_label(2, 3)
    config = exact_config(**PLAIN | {"momentum": 0.9}, optimizer="adam", epochs=8, learning_rate=0.5)
    top, weights = Watching(), []

    class NotingWeights(ActiveTraining):
        def _step(self, epoch, number, rows):
            weights.append({name: array.copy() for name, array in self.weights.items()})
            super()._step(epoch, number, rows)

    layer = train_layer(config, [own, other], label, exact_keys, top=top, active=NotingWeights)
    orders = np.random.default_rng(config.seed)
    seen, steps_of_weights = [], []
    for z, known in zip(top.logits, weights, strict=True):
        places = np.argsort(orders.permutation(ROWS))
        seen.append(z[places] - (with_one(own) @ known["own"])[:, 0])
        steps_of_weights.append(known["source passive 0"][:, 0])
    found = np.array(seen).T @ np.linalg.pinv(np.array(steps_of_weights).T)
    order, signs = (getattr(layer.passive[0].source, name) for name in ("_order", "_signs"))
    np.testing.assert_allclose(found, other[:, order] * signs, atol=1e-4)


def test_adam_gives_no_more_order_and_signs_are_hidden(exact_keys):
    """A table in another order with other signs looks the same, a rotated one does not."""
    (own, other), label = parts_and_label(2, 3)
    config = exact_config(optimizer="adam", epochs=2)
    views = []
    for columns in (other, other[:, [2, 0, 1]] * [1, -1, -1], other @ rotation(3)):
        top = Watching()
        train_layer(config, [own, columns], label, exact_keys, top=top)
        views.append(np.concatenate([*top.logits, *top.errors]))
    np.testing.assert_allclose(views[0], views[1], atol=1e-6)
    assert np.abs(views[0] - views[2]).max() > 1e-2


def read(message, keys):
    """The integers that the active party decrypts, (rows, …)."""
    decryptor = Decryptor(keys[0])
    batches = [CipherBatch.from_bytes(frame, keys[0].public) for frame in message.payload]
    return np.concatenate([decryptor.decrypt_fixed(batch).to_integers() for batch in batches])


def replies(end, leg):
    """What a passive party has sent of a leg."""
    return [m for m in end.sent if isinstance(m, messages.MaskedProduct) and m.leg == leg]


def fit(seen, secret):
    """|correlation| of two vectors: 1 where one is an affine image of the other."""
    numbers = np.array([float(v) for v in seen])
    if numbers.std() == 0 or secret.std() == 0:
        return 0.0
    return abs(np.corrcoef(numbers, secret)[0, 1])


def gradient_fits(keys):
    """How well what A reads of each step's gradient fits the gradient."""
    parts, label = parts_and_label(2, 24)
    config = exact_config(epochs=2)
    top = Watching()
    layer = train_layer(config, parts, label, keys, top=top)
    gradients = replies(layer.ends[1], "backward")
    orders = np.random.default_rng(config.seed)
    rows = [part for _ in range(2) for part in np.array_split(orders.permutation(ROWS), 2)]
    assert len(gradients) == len(top.errors) == len(rows)
    return [
        fit(read(message, keys), parts[1][r].T @ e)
        for message, e, r in zip(gradients, top.errors, rows, strict=True)
    ]


def test_gradients_of_sgd_are_masked(exact_keys, monkeypatch):
    assert max(gradient_fits(exact_keys)) < 0.95  # of 24 numbers: once in 10^12 by chance
    monkeypatch.setattr(
        steps, "random_matrix", lambda r, c, bits, scale, draw: FixedPoint.zeros((r, c), scale)
    )
    assert min(gradient_fits(exact_keys)) > 1 - 1e-9  # the check finds them where masks are missing


def logit_fits(keys):
    """How well what A reads of each passive party fits that party's logits; and of their sum."""
    parts, label = parts_and_label(2, 3, 2)
    config = exact_config(**PLAIN, epochs=3)
    layer = train_layer(config, parts, label, keys)
    sent = [replies(end, "forward") for end in layer.ends[1::2]]
    seen = [[read(message, keys) for message in by_party] for by_party in sent]
    order = [np.random.default_rng(config.seed)]
    rows = [order[0].permutation(ROWS) for _ in range(3)]
    # The weights before the second epoch: one step of the clear gradient.
    x = [with_one(parts[0]), *parts[1:]]
    w = [-config.learning_rate / ROWS * part.T @ (0.5 - label) for part in x]
    truths = [(part @ weights)[rows[1]] for part, weights in zip(x[1:], w[1:], strict=True)]
    alone = [fit(party[1], truth) for party, truth in zip(seen, truths, strict=True)]
    return max(alone), fit(seen[0][1] + seen[1][1], truths[0] + truths[1])


def test_of_several_passive_parties_only_the_sum_is_read(exact_keys, monkeypatch):
    alone, together = logit_fits(exact_keys)
    assert alone < 0.8
    assert together > 1 - 1e-9
    monkeypatch.setattr(
        CancellingMasks, "mask", lambda self, label, r, c, bits, scale: FixedPoint.zeros((r, c), scale)
    )
    alone, _ = logit_fits(exact_keys)
    assert alone > 1 - 1e-9


def test_digits_beyond_those_that_are_needed_are_random(exact_keys):
    parts, label = parts_and_label(1, 2)
    config = exact_config(**PLAIN, epochs=2)
    runs = []
    for _ in range(2):
        layer = train_layer(config, parts, label, exact_keys)
        runs.append(read(replies(layer.ends[1], "forward")[-1], exact_keys))
    covered = layer.active._widths.covered_bits
    assert covered == 28
    low = [np.array([int(v) % 2**covered for v in run], dtype=float) / 2**covered for run in runs]
    assert abs(np.corrcoef(*low)[0, 1]) < 0.8
    high = [np.array([int(v) >> covered for v in run], dtype=object) for run in runs]
    assert max(abs(high[0] - high[1])) < 100  # the same numbers, but for the steps' last digits


# --- a passive party ----------------------------------------------------------------------------------


def heard(keys, label_seed, optimizer):
    """What a passive party hears: type, fields and sizes of each message; and its ciphertexts."""
    parts, _ = parts_and_label(2, 3)
    label = label_of("binary:logistic", parts[0], label_seed)
    layer = train_layer(exact_config(optimizer=optimizer), parts, label, keys)
    sent = layer.ends[0].sent
    fields = [
        (type(m).__name__, *(getattr(m, n) for n in m.__struct_fields__ if n != "payload")) for m in sent
    ]
    return fields, [[len(frame) for frame in m.payload] for m in sent], sent


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_passive_party_hears_the_same_whatever_the_label(exact_keys, optimizer):
    first, second = (heard(exact_keys, seed, optimizer) for seed in (0, 7))
    assert first[0] == second[0]
    assert {fields[0] for fields in first[0]} == {
        "SourceStart", "EncryptedShare", "EpochEnd", "FinalShare",
    }  # fmt: skip
    sizes = [
        (a, b)
        for a, b, m in zip(first[1], second[1], first[2], strict=True)
        if not isinstance(m, messages.FinalShare)
    ]
    assert all(a == b for a, b in sizes)


def test_all_that_a_passive_party_gets_is_encrypted_anew_under_the_active_key(exact_keys):
    _, _, sent = heard(exact_keys, 0, "sgd")
    seen = set()
    count = 0
    for message in sent:
        if isinstance(message, messages.EncryptedShare):
            batch = CipherBatch.from_bytes(message.payload[0], exact_keys[0].public)
            limbs = batch.backend.to_limbs(batch.residues)
            seen |= {row.tobytes() for row in limbs}
            count += len(limbs)
    assert count == 4 * 3 + 4 * 30
    assert len(seen) == count


def test_shares_of_the_active_party_say_nothing_of_the_weights(exact_keys):
    """V is as wide as its masks, and unrelated to W."""
    parts, label = parts_and_label(2, 24)
    layer = train_layer(exact_config(), parts, label, exact_keys)
    share = next(iter(layer.active._sources.values())).block.weights.to_integers()[:, 0]
    assert min(abs(int(v)).bit_length() for v in share) > 64
    assert fit(share, layer.outcomes[1].weights[:, 0]) < 0.95


def test_both_parties_are_told_in_plain_words(exact_keys, caplog):
    parts, label = parts_and_label(1, 1)
    train_layer(exact_config(epochs=1), parts, label, exact_keys)
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 2
    assert all("sees the logits of every row" in text for text in told)
    assert any("passive 0" in text for text in told)
    assert any('mode = "shared"' in text for text in told)
    assert all(a != b for a, b in pairwise(told))
