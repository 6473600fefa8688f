"""What must not be trained on, or sent: typed errors on both sides, and nobody hangs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hecore
from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.errors import (
    ConfigurationError,
    HandshakeError,
    PeerAborted,
    ProtocolError,
    TableError,
)
from hecore.algorithms.lr import LinearConfig, VerticalLogisticRegression, messages

from .conftest import failures, fit_pair, small_config, tables

CONFIG = small_config(epochs=1, batch_size=30)


def try_fit(active, passive, keys, first=CONFIG, second=CONFIG, wrap=lambda end: end):
    ends = loopback_pair()
    ours = VerticalLogisticRegression(ends[0], first, key=keys[0])
    theirs = VerticalLogisticRegression(wrap(ends[1]), second, key=keys[1])
    return failures(lambda: ours.fit(active), lambda: theirs.fit(passive))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("batch_size", 0), ("learning_rate", 0.0), ("momentum", 1.0), ("alpha", -1.0),
        ("mask_bits", 39), ("feature_bits", 60), ("weight_bits", 8), ("learning_rate_decay", 0.0),
        ("tolerance", -1.0), ("seed", -1), ("feature_limit_bits", 0), ("weight_limit_bits", 99),
    ],
)  # fmt: skip
def test_a_parameter_outside_its_range_is_named(field, value):
    with pytest.raises(ConfigurationError, match=rf"{field} = .*{value}.* is not in"):
        LinearConfig(**{field: value})


def test_stopping_needs_the_loss():
    with pytest.raises(ConfigurationError, match="tolerance"):
        LinearConfig(tolerance=0.1, loss=False)


def test_unequal_ids(small_keys):
    active, passive = tables(60, 2, 2)
    other = replace(passive, ids=(*passive.ids[:-1], "somebody else"))
    for error in try_fit(active, other, small_keys):
        assert isinstance(error, HandshakeError)
        assert "60 row ids of" in str(error)


def test_unequal_rows(small_keys):
    active, passive = tables(60, 2, 2)
    ours, theirs = try_fit(active, passive.take(np.arange(50)), small_keys)
    assert isinstance(ours, HandshakeError)
    assert isinstance(theirs, HandshakeError)
    assert "60 rows" in str(ours)
    assert "50" in str(ours)


def test_unequal_configuration(small_keys):
    active, passive = tables(60, 2, 2)
    other = small_config(epochs=1, batch_size=31)
    for error in try_fit(active, passive, small_keys, second=other):
        assert isinstance(error, HandshakeError)
        assert "batch_size is" in str(error)


def test_two_active_parties(small_keys):
    active, _ = tables(60, 2, 2)
    for error in try_fit(active, active, small_keys):
        assert isinstance(error, HandshakeError)
        assert "both active" in str(error)


def test_batches_that_would_give_residuals_away(small_keys):
    active, passive = tables(60, 4, 4)
    small = LinearConfig(epochs=1, batch_size=8)
    for error in try_fit(active, passive, small_keys, small, small):
        assert isinstance(error, ConfigurationError | PeerAborted)
        assert "allow_small_data" in str(error)


def test_rows_that_the_delivered_weights_would_give_away(small_keys):
    """20 columns of 18 bits are equations enough to find the labels of 359 rows by lattice reduction."""
    config = LinearConfig(epochs=1, batch_size=120)
    few, enough = (tables(rows, 3, 20) for rows in (359, 360))
    for error in try_fit(*few, small_keys, config, config):
        assert isinstance(error, ConfigurationError | PeerAborted)
        assert "359 rows are too few for a block of 20 columns" in str(error)
        assert "360 rows are enough" in str(error)
    assert try_fit(*enough, small_keys, config, config) == (None, None)


def test_a_learning_rate_that_must_diverge():
    with pytest.raises(ConfigurationError, match="diverges"):
        LinearConfig(learning_rate=50.0, alpha=50.0)


@pytest.mark.parametrize("loss", [True, False])
def test_a_diverging_training_stops_before_its_masks_are_outgrown(small_keys, loss):
    active, passive = tables(120, 3, 3)
    wild = small_config(epochs=200, batch_size=120, learning_rate=20.0, learning_rate_decay=1.0, loss=loss)
    errors = try_fit(active, passive, small_keys, wild, wild)
    stopped = [error for error in errors if isinstance(error, ProtocolError)]
    assert stopped, errors
    assert "lower learning_rate" in str(stopped[0])


def test_labels_must_be_zero_or_one(small_keys):
    active, passive = tables(60, 2, 2)
    twos = replace(active, label=active.label + 1)
    model = VerticalLogisticRegression(loopback_pair()[0], CONFIG, key=small_keys[0])
    with pytest.raises(TableError, match="is not 0 or 1"):
        model.fit(twos)
    with pytest.raises(TableError, match="nothing to learn"):
        model.fit(replace(active, label=np.ones(60)))
    assert passive.label is None


def test_an_outlier_beyond_the_limit_names_its_place_and_tells_the_peer_only_the_kind(small_keys):
    active, passive = tables(90_000, 1, 1)
    values = passive.values.copy()
    values[17, 0] = 1e9
    ours, theirs = try_fit(active, replace(passive, values=values), small_keys)
    assert isinstance(theirs, TableError)
    assert "row 17" in str(theirs)
    assert "feature_limit_bits" in str(theirs)
    assert isinstance(ours, PeerAborted)
    assert "row 17" not in str(ours)
    assert "TableError" in str(ours)


def test_other_columns_than_in_training(small_keys):
    active, passive = tables(60, 2, 3)
    pair = fit_pair(active, passive, CONFIG, small_keys)
    renamed = replace(passive, columns=("x2", "x3", "new"))
    with pytest.raises(TableError, match=r"missing: .*x4.* new: .*new"):
        pair.passive.predict_proba(renamed)
    swapped = replace(passive, columns=("x3", "x2", "x4"))
    with pytest.raises(TableError, match="another order"):
        pair.passive.predict_proba(swapped)


def test_predicting_before_training(small_keys):
    model = VerticalLogisticRegression(loopback_pair()[0], CONFIG, key=small_keys[0])
    with pytest.raises(ProtocolError, match="call fit"):
        model.predict_proba(tables(60, 2, 2)[0])


def test_shares_of_two_trainings_do_not_score_together(small_keys):
    active, passive = tables(60, 2, 2)
    pairs = [fit_pair(active, passive, CONFIG, small_keys) for _ in range(2)]
    ends = loopback_pair()
    pairs[0].active.channels, pairs[1].passive.channels = [ends[0]], [ends[1]]
    for error in failures(lambda: pairs[0].active.predict(active), lambda: pairs[1].passive.predict(passive)):
        assert isinstance(error, HandshakeError)
        assert "model is" in str(error)


def test_a_file_that_is_no_share(small_keys, tmp_path):
    model = VerticalLogisticRegression(loopback_pair()[0], CONFIG, key=small_keys[0])
    path = tmp_path / "share.json"
    path.write_text('{"weights": [1]}')
    with pytest.raises(ProtocolError, match="is no model share"):
        model.load(path)


class Tampering:
    """A channel whose party changes one kind of message before it is sent."""

    def __init__(self, channel, kind, change):
        self._channel, self._kind, self._change = channel, kind, change

    def __getattr__(self, name):
        return getattr(self._channel, name)

    def send(self, message):
        self._channel.send(self._change(message) if isinstance(message, self._kind) else message)


def rewritten(message, **fields):
    names = [name for name in message.__struct_fields__ if name not in fields]
    return type(message)(**{name: getattr(message, name) for name in names}, **fields)


def with_ciphertext(byte):
    """The first ciphertext of the payload filled with one byte."""

    def change(message):
        data = message.payload[0]
        start, width = 64 + 8, 1024 // 8  # behind the header and one dimension; n² of the small keys
        return rewritten(message, payload=(data[:start] + byte * width + data[start + width :],))

    return change


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (with_ciphertext(b"\0"), hecore.InvalidCiphertext, "ciphertext 0"),
        (with_ciphertext(b"\xff"), hecore.InvalidCiphertext, "not below n²"),
        (lambda m: rewritten(m, payload=(m.payload[0][:-5],)), hecore.WireFormatError, "truncated"),
        (lambda m: rewritten(m, payload=(b"\x80\x04K\x01.",)), hecore.WireFormatError, "bytes"),
        (lambda m: rewritten(m, payload=()), ProtocolError, " parts"),
        (lambda m: rewritten(m, epoch=9), ProtocolError, "out of step"),
    ],
)
@pytest.mark.parametrize("kind", [messages.EncryptedShare, messages.MaskedProduct])
def test_a_tampered_message_stops_both(small_keys, kind, change, error, text):
    active, passive = tables(60, 2, 2)
    ours, theirs = try_fit(active, passive, small_keys, wrap=lambda end: Tampering(end, kind, change))
    assert isinstance(ours, error), ours
    assert text in str(ours)
    assert isinstance(theirs, PeerAborted | hecore.HecoreError)


def test_a_share_of_the_wrong_shape_or_scale(small_keys):
    active, passive = tables(60, 2, 2)
    keys = small_keys

    def shorter(message):
        batch = hecore.CipherBatch.from_bytes(message.payload[0], keys[1].public)
        return rewritten(message, payload=(batch[:-1].to_bytes(),))

    ours, _ = try_fit(
        active, passive, keys, wrap=lambda end: Tampering(end, messages.EncryptedShare, shorter)
    )
    assert isinstance(ours, ProtocolError)
    assert "was expected" in str(ours)


def test_a_final_share_of_the_wrong_size(small_keys):
    active, passive = tables(60, 2, 2)

    def cut(message):
        return rewritten(message, payload=(message.payload[0][:-8],))

    ours, _ = try_fit(active, passive, small_keys, wrap=lambda end: Tampering(end, messages.FinalShare, cut))
    assert isinstance(ours, ProtocolError)
    assert "final share" in str(ours)


def test_values_that_are_missing_or_categories_are_named(small_keys):
    _, passive = tables(60, 2, 2)
    values = passive.values.copy()
    values[7, 1] = np.nan
    gaps = replace(passive, values=values, missing=True)
    texts = replace(passive, values=np.zeros_like(values), categories={passive.columns[0]: ("a", "b")})
    for table, text in ((gaps, "nan at row 7"), (texts, "holds categories")):
        model = VerticalLogisticRegression(loopback_pair()[1], CONFIG, key=small_keys[1])
        with pytest.raises(TableError, match=text):
            model.fit(table)
