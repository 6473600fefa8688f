"""What actually goes over the channel: which records, how many ciphertexts, and that each is fresh."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hecore
from hecore.algorithms.channel import Channel, loopback_pair
from hecore.algorithms.gbdt import GBDTConfig, VerticalGBDTClassifier
from hecore.algorithms.gbdt import messages as msg
from hecore.algorithms.gbdt.encrypted import packed_reply, secret_order
from hecore.algorithms.gbdt.gradients import row_layout
from hecore.algorithms.gbdt.rows import unpack_bits
from hecore.algorithms.messages import M, Message
from hecore.evaluator import pack_rows

from .conftest import run_all, tables

ROWS, TREES = 150, 2
CONFIG = GBDTConfig(n_estimators=TREES, max_depth=3, max_bin=8, min_samples_leaf=2, block_rows=40)


class Recorder:
    """A channel that keeps what its owner sends."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.me, self.peer, self.sent = channel.me, channel.peer, []

    def send(self, message: Message) -> None:
        self.sent.append(message)
        self._channel.send(message)

    def receive(self, kind: type[M], timeout: float | None = None) -> M:
        return self._channel.receive(kind, timeout)

    def abort(self, reason: str) -> None:
        self._channel.abort(reason)


@pytest.fixture(scope="module")
def transcript(small_keys: list[hecore.PrivateKey]) -> tuple[list[Any], list[Any]]:
    """What the active and the passive party sent in one training."""
    parts = tables(ROWS, [2, 3], seed=41)
    ends = [Recorder(end) for end in loopback_pair("active", "passive1")]
    models = [
        VerticalGBDTClassifier(end, CONFIG, key=key) for end, key in zip(ends, small_keys, strict=False)
    ]
    run_all([lambda m=m, p=p: m.fit(p) for m, p in zip(models, parts, strict=True)])
    return ends[0].sent, ends[1].sent


def of(kind: type[Message], sent: list[Any]) -> list[Any]:
    return [message for message in sent if isinstance(message, kind)]


def ciphertexts(data: bytes, public: hecore.PublicKey) -> list[bytes]:
    batch = hecore.CipherBatch.from_bytes(data, public)
    size = public.square.nbytes
    return [
        data[start : start + size] for start in range(len(data) - size * len(batch.residues), len(data), size)
    ]


def test_only_these_records(transcript: Any) -> None:
    """The hello, then trees: nothing else of the label or the columns has a way out."""
    active, passive = transcript
    assert {type(message) for message in active[1:]} == {msg.Round, msg.Block, msg.Grow}
    assert {type(message) for message in passive[1:]} == {msg.Sums, msg.Routes}
    assert len(of(msg.Round, active)) == TREES + 1
    assert len(of(msg.Block, active)) == TREES * -(-ROWS // 40)
    assert len(of(msg.Sums, passive)) == sum(bool(step.build) for step in of(msg.Grow, active))
    assert len(of(msg.Routes, passive)) == sum(bool(step.choose) for step in of(msg.Grow, active))


def test_one_fresh_ciphertext_a_row(transcript: Any, small_keys: list[hecore.PrivateKey]) -> None:
    """All different, though in the first tree there are two kinds of gradients only."""
    public = small_keys[0].public
    sent = [c for block in of(msg.Block, transcript[0]) for c in ciphertexts(block.payload[0], public)]
    assert len(sent) == len(set(sent)) == TREES * ROWS


def test_replies_are_packed(transcript: Any, small_keys: list[hecore.PrivateKey]) -> None:
    """As few ciphertexts as hold the sums of the open candidates, smaller children only."""
    public = small_keys[0].public
    per = (public.bits - 1) // row_layout(public, CONFIG.gradient_bits, ROWS, 1).slot_bits // 2
    assert per > 3
    seen: list[bytes] = []
    for answer in of(msg.Sums, transcript[1]):
        masks = unpack_bits(answer.payload[0], [answer.candidates] * (2 * len(answer.nodes)))
        sums = sum(int((a | b).sum()) for a, b in zip(masks[::2], masks[1::2], strict=True))
        found = ciphertexts(answer.payload[1], public) if sums else []
        assert len(found) == -(-sums // per)
        seen += found
    assert len(seen) == len(set(seen)) > 0


def test_a_reply_has_fresh_noise(small_keys: list[hecore.PrivateKey]) -> None:
    """The same sums twice: other bytes, the same numbers; and none of them is the product as computed."""
    key = small_keys[0]
    layout = row_layout(key.public, 24, 100, 1)
    values = np.arange(40).reshape(20, 2)
    sums = hecore.Encryptor(key).encrypt(values, layout=layout)
    replies = [packed_reply([sums], "uniform") for _ in range(2)]
    computed = ciphertexts(pack_rows(sums).to_bytes(rerandomize=False), key.public)
    first, second = (ciphertexts(reply, key.public) for reply in replies)
    assert set(first).isdisjoint(second)
    assert set(first).isdisjoint(computed)
    for reply in replies:
        batch = hecore.CipherBatch.from_bytes(reply, key.public)
        assert np.array_equal(hecore.Decryptor(key).decrypt(batch), values.ravel())


def test_the_secret_order_is_a_new_permutation_each_time() -> None:
    orders = [secret_order(200) for _ in range(3)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(200))
    assert len({order.tobytes() for order in orders}) == 3
    assert all((order != np.arange(200)).mean() > 0.9 for order in orders)


def test_a_passive_party_is_told_nothing_of_evaluation_rows(small_keys: list[hecore.PrivateKey]) -> None:
    """They are routed, but never drawn: their gradients are not sent, encrypted or not."""
    every = tables(ROWS, [2, 3], seed=42)
    train, test = np.arange(100), np.arange(100, ROWS)
    ends = [Recorder(end) for end in loopback_pair("active", "passive1")]
    models = [
        VerticalGBDTClassifier(end, CONFIG, key=key) for end, key in zip(ends, small_keys, strict=False)
    ]
    run_all([lambda m=m, p=p: m.fit(p.take(train), p.take(test)) for m, p in zip(models, every, strict=True)])
    public = small_keys[0].public
    rows = sum(len(ciphertexts(block.payload[0], public)) for block in of(msg.Block, ends[0].sent))
    assert rows == TREES * train.size
    for start in of(msg.Round, ends[0].sent)[:-1]:
        (drawn,) = unpack_bits(start.payload[0], [ROWS])
        assert np.flatnonzero(drawn).tolist() == train.tolist()
