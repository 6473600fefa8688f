"""Mode `exact` from the estimators: two and three parties, sparse tables, networks, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy.sparse import csr_array

import hecore
from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.data import Table
from hecore.algorithms.errors import ConfigurationError, ProtocolError
from hecore.algorithms.lr import (
    LinearConfig,
    VerticalLinearRegression,
    VerticalLogisticRegression,
    VerticalPoissonRegression,
    messages,
)
from hecore.algorithms.lr.exact import VerticalTopModel
from hecore.algorithms.lr.exact.messages import SourceStart
from hecore.algorithms.serving.parts import LinearWhole

from .conftest import exact_config, label_of

KINDS = {
    "binary:logistic": VerticalLogisticRegression,
    "multi:softprob": VerticalLogisticRegression,
    "reg:squarederror": VerticalLinearRegression,
    "count:poisson": VerticalPoissonRegression,
}


def tables(objective, *counts, rows=90, sparse=False):
    rng = np.random.default_rng(4)
    values = [rng.normal(size=(rows, count)) for count in counts]
    if sparse:
        values = [part * (rng.random(part.shape) < 0.3) for part in values]
    label = label_of(objective, np.hstack(values))
    ids = tuple(f"row {i}" for i in range(rows))
    return [
        Table(
            f"party {place}",
            ids,
            tuple(f"c{place}{i}" for i in range(part.shape[1])),
            csr_array(part) if sparse else part * 3 + 1,
            label if place == 0 else None,
        )
        for place, part in enumerate(values)
    ]


def run_all(works):
    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(work) for work in works]
        return [(future.exception(timeout=250), future) for future in futures]


def models(kind, config, keys, count, wrap=lambda end: end, **options):
    pairs = [loopback_pair("active", f"passive {number}") for number in range(1, count)]
    first = kind([a for a, _ in pairs], config, key=keys[0], **options)
    others = [kind(wrap(b), config, key=key) for (_, b), key in zip(pairs, keys[1:], strict=False)]
    return [first, *others]


def fit_and_predict(parties, parts, train=60):
    """Fit on the first rows, evaluate and predict the others: the active party's predictions."""
    rows, rest = np.arange(train), np.arange(train, len(parts[0]))

    def work(model, table):
        return lambda: model.fit(table.take(rows), table.take(rest)).predict(table.take(rest))

    found = run_all([work(model, table) for model, table in zip(parties, parts, strict=True)])
    for error, _ in found:
        if error is not None:
            raise error
    first, *others = [future.result() for _, future in found]
    assert all(other is None for other in others)
    return first


@pytest.mark.parametrize(
    ("objective", "counts", "metric"),
    [("binary:logistic", (3, 2, 2), "auc"), ("multi:softprob", (3, 3), "accuracy")],
)
def test_joint_predictions(exact_keys, objective, counts, metric):
    parts = tables(objective, *counts)
    config = exact_config(objective=objective, optimizer="adam", learning_rate=0.2, batch_size=60)
    parties = models(KINDS[objective], config, exact_keys, len(counts))
    predicted = fit_and_predict(parties, parts)
    z = parties[0].intercept_ + sum(
        (part.values[60:] - part.values[:60].mean(axis=0))
        / part.values[:60].std(axis=0)
        @ model.coef_.reshape(part.values.shape[1], -1)
        for part, model in zip(parts, parties, strict=True)
    )
    expected = z.argmax(axis=1) if z.shape[1] > 1 else z[:, 0] > 0
    np.testing.assert_array_equal(predicted, expected)
    result = parties[0].evals_result_
    assert {"train", "evaluation", "train logloss", "evaluation logloss"} <= set(result)
    assert result["evaluation"] == result[f"evaluation {metric}"]
    right = np.mean(predicted == parts[0].label[60:])
    assert right > 0.5
    assert result["evaluation accuracy"][-1] == pytest.approx(right)
    assert parties[1].evals_result_ == {"train": []}  # a passive party is told nothing
    share = parties[0]._fitted()
    assert LinearWhole(share, share.active).probabilities
    with pytest.raises(ConfigurationError, match="not served"):
        LinearWhole(share, msgspec.structs.replace(share.active, network=True))


def test_sparse_tables(exact_keys):
    parts = tables("count:poisson", 4, 5, sparse=True)
    config = exact_config(objective="count:poisson", batch_size=60)
    sparse = models(VerticalPoissonRegression, config, exact_keys, 2)
    predicted = fit_and_predict(sparse, parts)
    assert (predicted > 0).all()
    # The same as of dense columns without centring: x/max|x|.
    scale = [abs(part.values.toarray()[:60]).max(axis=0) for part in parts]
    x = [part.values.toarray() / s for part, s in zip(parts, scale, strict=True)]
    z = x[0][60:] @ sparse[0].coef_ + x[1][60:] @ sparse[1].coef_ + sparse[0].intercept_
    np.testing.assert_allclose(predicted, parts[0].label[:60].mean() * np.exp(z), atol=1e-4)


def test_a_network(exact_keys, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")
    parts = tables("binary:logistic", 3, 3)
    # What no linear model finds: the sign of a product.
    crossed = (np.prod([part.values[:, 0] - 1 for part in parts], axis=0) > 0).astype(np.float64)
    parts[0] = replace(parts[0], label=crossed)
    config = exact_config(optimizer="adam", epochs=40, batch_size=60, learning_rate=0.1, alpha=0.0,
                          learning_rate_decay=1.0)  # fmt: skip

    def network(seed):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Linear(8, 1))

    parties = models(VerticalTopModel, config, exact_keys, 2)
    parties[0].module, parties[0].hidden = network(0), 8
    fit_and_predict(parties, parts)
    assert parties[0].evals_result_["train accuracy"][-1] > 0.8
    for place, model in enumerate(parties):
        model.save(tmp_path / f"{place}.json")
    loaded = models(VerticalTopModel, config, exact_keys, 2)
    loaded[0].module, loaded[0].hidden = network(1), 8
    for place, model in enumerate(loaded):
        model.load(tmp_path / f"{place}.json")
        assert model.digest() == parties[place].digest()
    again = run_all([lambda m=m, t=t: m.predict(t) for m, t in zip(loaded, parts, strict=True)])
    scores = again[0][1].result()
    assert np.mean((scores[:60, 1] > 0.5) == crossed[:60]) > 0.8
    loaded[0].module = torch.nn.Linear(8, 1)
    with pytest.raises(ProtocolError, match="this module has"):
        loaded[0].load(tmp_path / "0.json")


# --- what is refused ----------------------------------------------------------------------------------


def test_shared_is_the_default():
    assert LinearConfig().mode == "shared"


@pytest.mark.parametrize("options", [{"optimizer": "adam"}, {"objective": "multi:softprob"}])
def test_what_needs_logits_in_the_clear_is_refused_on_shares(options):
    with pytest.raises(ConfigurationError, match='mode = "exact"'):
        LinearConfig(**options)
    LinearConfig(**options, mode="exact")


def test_networks_need_mode_exact_and_units(exact_keys):
    end = loopback_pair()[0]
    with pytest.raises(ConfigurationError, match='a network needs mode = "exact"'):
        VerticalTopModel(end, LinearConfig(), key=exact_keys[0])
    with pytest.raises(ConfigurationError, match="belong together"):
        VerticalTopModel(end, hidden=3, key=exact_keys[0])


def test_a_key_that_is_too_short_is_refused(exact_keys):
    parts = tables("binary:logistic", 2, 2)
    config = exact_config(mask_bits=128, feature_bits=40, weight_bits=48, feature_limit_bits=32)
    key = hecore.generate_key(256, insecure_test_key=True)
    parties = models(VerticalLogisticRegression, config, [key, exact_keys[1]], 2)
    found = run_all([lambda m=m, t=t: m.fit(t) for m, t in zip(parties, parts, strict=True)])
    assert isinstance(found[0][0], ConfigurationError)
    assert all("do not fit a key of 256 bits" in str(error) for error, _ in found)


def test_an_outlier_is_named_before_anything_is_sent(exact_keys):
    parts = tables("binary:logistic", 2, 2, rows=400)
    values = parts[1].values.copy()
    values[77, 1] = 1e9
    parts[1] = replace(parts[1], values=values)
    parties = models(VerticalLogisticRegression, exact_config(feature_limit_bits=4), exact_keys, 2)
    found = run_all([lambda m=m, t=t: m.fit(t) for m, t in zip(parties, parts, strict=True)])
    assert "row 77, column 1" in str(found[1][0])
    assert parties[1].channels[0].traffic.sent.by_type.keys() == {"hello"}


def test_a_training_that_diverges_is_stopped(exact_keys):
    parts = tables("reg:squarederror", 2, 2)
    config = exact_config(objective="reg:squarederror", learning_rate=50.0, epochs=60, alpha=0.0)
    parties = models(VerticalLinearRegression, config, exact_keys, 2)
    found = run_all([lambda m=m, t=t: m.fit(t) for m, t in zip(parties, parts, strict=True)])
    assert "lower learning_rate" in str(found[0][0])


class Tampering:
    """A channel whose party changes one kind of message before it is sent."""

    def __init__(self, channel, kind, change):
        self._channel, self._kind, self._change = channel, kind, change

    def __getattr__(self, name):
        return getattr(self._channel, name)

    def send(self, message):
        changed = self._change(message) if isinstance(message, self._kind) else message
        self._channel.send(changed)


def rewritten(message, **fields):
    names = [name for name in message.__struct_fields__ if name not in fields]
    return type(message)(**{name: getattr(message, name) for name in names}, **fields)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: rewritten(m, payload=m.payload * 2), "parts"),
        (lambda m: rewritten(m, batch=5), "out of step"),
        (lambda m: rewritten(m, payload=(m.payload[0][:-5],)), "truncated"),
    ],
)
def test_a_tampered_reply_stops_the_active_party(exact_keys, change, text):
    parts = tables("binary:logistic", 2, 2)
    wrap = lambda end: Tampering(end, messages.MaskedProduct, change)  # noqa: E731
    parties = models(VerticalLogisticRegression, exact_config(epochs=1), exact_keys, 2, wrap)
    found = run_all([lambda m=m, t=t: m.fit(t) for m, t in zip(parties, parts, strict=True)])
    assert text in str(found[0][0])
    assert found[1][0] is not None


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        (messages.EncryptedShare, lambda m: rewritten(m, payload=m.payload * 2), "2 batches"),
        (messages.EncryptedShare, lambda m: rewritten(m, leg="other"), "out of step"),
        (SourceStart, lambda m: messages.EpochEnd(epoch=0, loss=None, stop=True, best=False), "expected"),
        (messages.Seeds, lambda m: rewritten(m, parties=(), payload=()), "seeds of 0 parties"),
    ],
)
def test_a_tampered_message_stops_a_passive_party(exact_keys, kind, change, text):
    parts = tables("binary:logistic", 2, 2, 2)
    parties = models(VerticalLogisticRegression, exact_config(epochs=1), exact_keys, 3)
    parties[0].channels = [Tampering(end, kind, change) for end in parties[0].channels]
    found = run_all([lambda m=m, t=t: m.fit(t) for m, t in zip(parties, parts, strict=True)])
    assert any(text in str(error) for error, _ in found[1:])
    assert all(error is not None for error, _ in found)
