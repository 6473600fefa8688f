"""A peer that sends what it should not: the other side raises ProtocolError naming it, and nobody waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

import hecore
from hecore.algorithms.channel import Channel, loopback_pair
from hecore.algorithms.data import Table
from hecore.algorithms.errors import (
    ConfigurationError,
    HandshakeError,
    PeerAborted,
    ProtocolError,
    TableError,
)
from hecore.algorithms.gbdt import GBDTConfig, VerticalGBDTClassifier, VerticalGBDTRegressor
from hecore.algorithms.gbdt import messages as msg
from hecore.algorithms.gbdt.gradients import row_layout
from hecore.algorithms.messages import M, Message
from hecore.algorithms.party import Hello

from .conftest import failures, run_all, tables

CONFIG = GBDTConfig(n_estimators=2, max_depth=2, max_bin=8, min_samples_leaf=2, first_trees_local=0)
ROWS = 120
Edit = Callable[[Message], Message]


class Liar:
    """A channel whose owner changes what it sends."""

    def __init__(self, channel: Channel, edit: Edit) -> None:
        self._channel, self._edit = channel, edit
        self.me, self.peer = channel.me, channel.peer

    def send(self, message: Message) -> None:
        self._channel.send(self._edit(message))

    def receive(self, kind: type[M], timeout: float | None = None) -> M:
        return self._channel.receive(kind, timeout)

    def abort(self, reason: str) -> None:
        self._channel.abort(reason)


def replaced(kind: type[Message], **changes: Any) -> Edit:
    """Change fields of messages of one kind; a callable gets the old value."""

    def edit(message: Message) -> Message:
        if not isinstance(message, kind):
            return message
        new = {
            name: change(getattr(message, name)) if callable(change) else change
            for name, change in changes.items()
        }
        return msgspec.structs.replace(message, **new)

    return edit


def train(keys: list[hecore.PrivateKey], active_edit: Edit, passive_edit: Edit) -> list[Any]:
    """What each party ends with when one or the other lies."""
    parts = tables(ROWS, [1, 3], seed=12)
    ends = loopback_pair("active", "passive1")
    liars = [Liar(ends[0], active_edit), Liar(ends[1], passive_edit)]
    models = [VerticalGBDTClassifier(liar, CONFIG, key=key) for liar, key in zip(liars, keys, strict=False)]
    return failures([lambda m=m, p=p: m.fit(p) for m, p in zip(models, parts, strict=True)])


def honest(message: Message) -> Message:
    return message


def swap_last(payload: tuple[bytes, ...], data: bytes) -> tuple[bytes, ...]:
    return (*payload[:-1], data)


def test_nobody_lies(small_keys: list[hecore.PrivateKey]) -> None:
    assert train(small_keys, honest, honest) == [None, None]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (replaced(msg.Sums, tree=lambda t: t + 1), "other nodes or candidates"),
        (replaced(msg.Sums, nodes=(5,)), "other nodes or candidates"),
        (replaced(msg.Sums, candidates=lambda c: c + 8), "bytes of bits"),
        (replaced(msg.Sums, candidates=49), "has 49 candidates, though its columns can have 48"),
        (replaced(msg.Sums, candidates=1 << 40), "though its columns can have 48"),
        (replaced(msg.Sums, payload=lambda p: p[:1]), "frames of sums"),
        (replaced(msg.Sums, payload=lambda p: (b"\xff" * len(p[0]), p[1])), "bits behind the end|shape"),
        (replaced(msg.Sums, payload=lambda p: (bytes(len(p[0])), p[1])), "though no candidate is open"),
        (replaced(msg.Sums, payload=lambda p: swap_last(p, b"")), "cannot be read"),
        (replaced(msg.Sums, payload=lambda p: swap_last(p, p[-1][:-1])), "cannot be read"),
        (replaced(msg.Sums, payload=lambda p: swap_last(p, p[-1][:-256] + bytes(256))), "cannot be read"),
        (replaced(msg.Routes, tree=lambda t: t + 1), "another tree"),
        (replaced(msg.Routes, payload=()), "another tree"),
        (replaced(msg.Routes, payload=lambda p: (p[0][:-1],)), "bytes of bits"),
        (replaced(msg.Routes, payload=lambda p: (bytes([p[0][0] ^ 1]) + p[0][1:],)), "do not have the sums"),
        (replaced(msg.Routes, payload=lambda p: (bytes(len(p[0])),)), "do not have the sums"),
    ],
)
def test_a_lying_passive_party(small_keys: list[hecore.PrivateKey], edit: Edit, message: str) -> None:
    active, passive = train(small_keys, honest, edit)
    assert isinstance(active, ProtocolError)
    assert str(active).startswith("passive1 ")
    assert any(part in str(active) for part in message.split("|")), active
    assert isinstance(passive, PeerAborted)
    assert passive.reason == "ProtocolError"  # no text that could tell data


def sums_of(change: Callable[[hecore.CipherBatch], hecore.CipherBatch], key: hecore.PrivateKey) -> Edit:
    """Sums of the passive party's own choice, well formed."""

    def edit(message: Message) -> Message:
        if not isinstance(message, msg.Sums):
            return message
        batch = hecore.CipherBatch.from_bytes(message.payload[1], key.public)
        forged = change(batch).rerandomize().to_bytes()
        return msgspec.structs.replace(message, payload=swap_last(message.payload, forged))

    return edit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sums: -sums, "no choice of rows"),
        (lambda sums: sums + np.full(sums.shape, 1), "do not have the sums"),
    ],
)
def test_sums_that_are_well_formed_and_wrong(
    small_keys: list[hecore.PrivateKey], change: Any, message: str
) -> None:
    active, _ = train(small_keys, honest, sums_of(change, small_keys[0]))
    assert isinstance(active, ProtocolError)
    assert message in str(active)


def chosen(**changes: Any) -> Edit:
    """Change the splits that the passive party is to make."""

    def edit(message: Message) -> Message:
        if not isinstance(message, msg.Grow) or not message.choose:
            return message
        first = msgspec.structs.replace(message.choose[0], **changes)
        return msgspec.structs.replace(message, choose=(first, *message.choose[1:]))

    return edit


def grown(**changes: Any) -> Edit:
    """Change the first step of a tree."""

    def edit(message: Message) -> Message:
        if isinstance(message, msg.Grow) and message.build == (0,):
            return msgspec.structs.replace(message, **changes)
        return message

    return edit


def blocks_of(values: Any, key: hecore.PrivateKey) -> Edit:
    layout = row_layout(key.public, CONFIG.gradient_bits, ROWS, 1)
    forged = hecore.Encryptor(key).encrypt(values, layout=layout if np.ndim(values) == 2 else None)
    return replaced(msg.Block, payload=(forged.to_bytes(),))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (replaced(msg.Block, block=7), "out of order"),
        (replaced(msg.Block, payload=()), "out of order"),
        (replaced(msg.Block, payload=lambda p: (p[0][:-8],)), "cannot be read"),
        (replaced(msg.Block, payload=lambda p: (p[0][:-128] + bytes(128),)), "cannot be read"),
        (replaced(msg.Round, outputs=lambda o: o + 1), "gradients of shape"),
        (replaced(msg.Round, blocks=0), None),  # the block comes where a step is due
        (replaced(msg.Round, tree=0), "began tree 0 after tree 0"),
        (replaced(msg.Round, tree=lambda t: 2 * t), "began tree 2 after tree 0"),
        (replaced(msg.Round, kept=lambda k: k and k + 1), "kept 3 trees: the last was tree 1"),
        (replaced(msg.Round, kept=lambda k: k and k - 1), "kept 1 trees: the last was tree 1"),
        (replaced(msg.Round, payload=(b"\x01",)), "bytes of bits"),
        (replaced(msg.Round, payload=(b"\xff" * (ROWS // 8 - 1) + b"\x7f",)), "drew other rows for tree 0"),
        (replaced(msg.Round, model=""), "without a name"),
        (replaced(msg.Grow, tree=9), "asked for tree 9"),
        (grown(build=(3,)), "asked for node 3"),
        (grown(build=(0, 0)), "asked for node 0"),
        (grown(splits=(msg.Split(5, 6, 7),), payload=(b"",)), "split a node that is not there"),
        (grown(splits=(msg.Split(0, 1, 1),), payload=(bytes(ROWS // 8),)), "not two new ones"),
        (grown(splits=(msg.Split(0, 1, 2),), payload=(bytes(3),)), "bytes of bits"),
        (grown(splits=(msg.Split(0, 1, 2),), payload=(bytes(ROWS // 8),), build=(1,)), "before the node"),
        (grown(choose=(msg.ChosenSplit(0, 1, 2, (0,)),), build=()), "whose sums it does not have"),
        (chosen(node=77), "node 77"),
        (chosen(candidates=(100_000,)), "candidate that is not there"),
        (chosen(left=0), "not two new ones"),
    ],
)
def test_a_lying_active_party(small_keys: list[hecore.PrivateKey], edit: Edit, message: str | None) -> None:
    active, passive = train(small_keys, edit, honest)
    if message is None:
        assert isinstance(passive, Exception)
    else:
        assert isinstance(passive, ProtocolError), passive
        assert str(passive).startswith("active ")
        assert message in str(passive), passive
    assert isinstance(active, Exception) or "kept" in str(message)  # it is done by then


@pytest.mark.parametrize(("local", "most"), [(0, 2), (1, 1)])
def test_an_active_party_that_goes_on_growing_trees(
    small_keys: list[hecore.PrivateKey], local: int, most: int
) -> None:
    """It shows the agreed configuration, and then asks for sums of one more round's gradients."""
    parts = tables(ROWS, [1, 3], seed=12)
    ends = loopback_pair("active", "passive1")
    config = msgspec.structs.replace(CONFIG, first_trees_local=local)

    def edit(message: Message) -> Message:
        if isinstance(message, Hello):
            active.config = msgspec.structs.replace(config, n_estimators=3)
        return message

    active = VerticalGBDTClassifier(Liar(ends[0], edit), config, key=small_keys[0])
    passive = VerticalGBDTClassifier(ends[1], config, key=small_keys[1])
    told, refused = failures([lambda: active.fit(parts[0]), lambda: passive.fit(parts[1])])
    assert isinstance(refused, ProtocolError), refused
    assert str(refused) == (
        f"active began tree 2 after {most} joint trees, though n_estimators = 2 allows {most} at most"
    )
    assert isinstance(told, PeerAborted)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((ROWS - 1, 2), dtype=np.int64), "119 rows for 120 drawn ones"),
        (np.ones((ROWS + 1, 2), dtype=np.int64), "more gradients"),
        (np.ones((ROWS, 3), dtype=np.int64), "gradients of shape"),
        (np.ones(ROWS, dtype=np.int64), "gradients of shape"),
    ],
)
def test_gradients_of_another_shape(
    small_keys: list[hecore.PrivateKey], values: np.ndarray, message: str
) -> None:
    _, passive = train(small_keys, blocks_of(values, small_keys[0]), honest)
    assert isinstance(passive, ProtocolError)
    assert message in str(passive)


def test_a_closed_candidate_is_not_chosen(small_keys: list[hecore.PrivateKey]) -> None:
    """All 21 candidates at once: the first is the lowest eighth of a column, and that is closed."""
    parts = tables(ROWS, [1, 3], seed=12)
    config = msgspec.structs.replace(CONFIG, min_samples_leaf=50)
    ends = loopback_pair("active", "passive1")
    edit = chosen(candidates=tuple(range(21)))
    models = [
        VerticalGBDTClassifier(end, config, key=key)
        for end, key in zip([Liar(ends[0], edit), ends[1]], small_keys, strict=False)
    ]
    _, passive = failures([lambda m=m, p=p: m.fit(p) for m, p in zip(models, parts, strict=True)])
    assert isinstance(passive, ProtocolError)
    assert "not open" in str(passive)


# --- prediction -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(small_keys: list[hecore.PrivateKey]) -> tuple[list[Any], list[Table]]:
    """Both shares, and tables to score."""
    parts = tables(ROWS, [1, 3], seed=12)
    ends = loopback_pair("active", "passive1")
    models = [
        VerticalGBDTClassifier(end, CONFIG, key=key) for end, key in zip(ends, small_keys, strict=False)
    ]
    run_all([lambda m=m, p=p: m.fit(p) for m, p in zip(models, parts, strict=True)])
    return [model.share for model in models], parts


def score(keys: list[hecore.PrivateKey], shares: list[Any], parts: list[Table], edit: Edit) -> list[Any]:
    ends = loopback_pair("active", "passive1")
    models = []
    for end, key, share in zip([ends[0], Liar(ends[1], edit)], keys, shares, strict=False):
        model = VerticalGBDTClassifier(end, CONFIG, key=key)
        model.share = share
        models.append(model)
    return failures([lambda m=m, p=p: m.predict(p) for m, p in zip(models, parts, strict=True)])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (replaced(msg.Directions, rows=lambda r: r - 1), "directions of 119 rows"),
        (replaced(msg.Directions, nodes=lambda n: n + 1), "directions of 120 rows"),
        (replaced(msg.Directions, start=1), "from row 1 on"),
        (replaced(msg.Directions, payload=()), "directions of"),
        (replaced(msg.Directions, payload=lambda p: (p[0] + b"\x00",)), "cannot be read"),
    ],
)
def test_lying_directions(
    small_keys: list[hecore.PrivateKey], trained: Any, edit: Edit, message: str
) -> None:
    active, _ = score(small_keys, *trained, edit)
    assert isinstance(active, ProtocolError)
    assert message in str(active)
    assert "passive1" in str(active)


def test_shares_of_two_models_do_not_score(small_keys: list[hecore.PrivateKey], trained: Any) -> None:
    shares, parts = trained
    other = replace(shares[1], model="0" * 32)
    for failure in score(small_keys, [shares[0], other], parts, honest):
        assert isinstance(failure, HandshakeError)
        assert "model is" in str(failure)


# --- data and settings ----------------------------------------------------------------------------


def test_channels_that_do_not_fit(small_keys: list[hecore.PrivateKey]) -> None:
    first, second = loopback_pair("active", "passive1"), loopback_pair("active", "passive1")
    for channels in ([], [first[0], second[0]]):
        with pytest.raises(ConfigurationError, match="one to each peer"):
            VerticalGBDTClassifier(channels, CONFIG, key=small_keys[0])
    ends = [loopback_pair("active", "passive1")[1], loopback_pair("other", "passive1")[1]]
    model = VerticalGBDTClassifier(ends, CONFIG, key=small_keys[0])
    with pytest.raises(ConfigurationError, match="a passive party has one channel"):
        model.fit(tables(ROWS, [1, 3])[1])


def test_wrong_labels_and_settings(small_keys: list[hecore.PrivateKey]) -> None:
    parts = tables(ROWS, [1, 3])

    def outcome(first: Table, *, peer: GBDTConfig = CONFIG, config: GBDTConfig = CONFIG, **fit: Any) -> Any:
        ends = loopback_pair("active", "passive1")
        kind = VerticalGBDTRegressor if config.objective == "custom" else VerticalGBDTClassifier
        models = [kind(ends[0], config, key=small_keys[0]), kind(ends[1], peer, key=small_keys[1])]
        return failures([lambda: models[0].fit(first, **fit), lambda: models[1].fit(parts[1])])

    three = replace(parts[0], label=np.arange(ROWS) % 3.0)
    active, passive = outcome(three)
    assert isinstance(active, TableError)
    assert isinstance(passive, PeerAborted)
    active, passive = outcome(replace(parts[0], label=parts[0].label + 1))
    assert "labels must be 0, 1" in str(active)
    other = msgspec.structs.replace(CONFIG, max_depth=3)
    for failure in outcome(parts[0], peer=other):
        assert isinstance(failure, HandshakeError)
        assert "max_depth is" in str(failure)
    weighted = msgspec.structs.replace(CONFIG, sample_weights="any")
    active, _ = outcome(parts[0], peer=weighted, config=weighted, sample_weight=[1.0])
    assert "sample weights" in str(active)
    bits = msgspec.structs.replace(weighted, objective="custom")
    active, _ = outcome(parts[0], peer=bits, config=bits)
    assert "a custom objective belong together" in str(active)
    with pytest.raises(ConfigurationError, match="gradient_bits"):
        GBDTConfig(gradient_bits=40).check_rows(1 << 13)
    one_class = (parts[0].label == 1).astype(float)
    active, _ = outcome(parts[0], peer=weighted, config=weighted, sample_weight=one_class)
    assert "nothing to learn" in str(active)
    active, passive = outcome(parts[0], evaluation=parts[0])
    assert "gbdt.fit.evaluation" in str(active)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_depth": 0}, "a tree needs one"),
        ({"max_leaves": 1}, "max_leaves = 1"),
        ({"goss_top": 0.5}, "goss_top = 0.5"),
        ({"goss_top": 0.7, "goss_other": 0.7}, "1 at most together"),
        ({"goss_top": 0.1, "goss_other": 0.1, "subsample": 0.5}, "choose one"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"max_bin": 1}, "max_bin"),
        ({"reg_lambda": -1.0}, "reg_lambda"),
        ({"objective": "custom"}, 'sample_weights = "any"'),
        ({"objective": "custom", "sample_weights": "levels"}, 'sample_weights = "any"'),
    ],
)
def test_settings_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        GBDTConfig(**options)
