"""The handshake: both sides go on together, or both stop with an error that names what differs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import gmpy2
import msgspec
import numpy as np
import pytest

import hecore
from hecore.algorithms.channel import Channel, loopback_pair
from hecore.algorithms.data import Table
from hecore.algorithms.errors import ChannelError, HandshakeError, MalformedMessage, PeerAborted
from hecore.algorithms.lr import LinearConfig
from hecore.algorithms.messages import Message
from hecore.algorithms.party import (
    ACTIVE,
    PASSIVE,
    Hello,
    Peer,
    compare_settings,
    differences,
    handshake,
)
from hecore.wire import dump_key

Side = Callable[[Channel], Any]


class Next(Message, frozen=True, tag="test.next"):
    """Whatever a protocol sends after its handshake."""


@pytest.fixture(scope="module")
def small() -> tuple[hecore.PrivateKey, hecore.PrivateKey]:
    first, second = (hecore.generate_key(512, insecure_test_key=True) for _ in range(2))
    return first, second


def people(count: int = 4, columns: int = 2) -> Table:
    ids = tuple(f"person {i}" for i in range(count))
    return Table("people", ids, tuple(f"x{i}" for i in range(columns)), np.ones((count, columns)))


@dataclass(frozen=True)
class Job:
    """What one side brings to a handshake."""

    key: hecore.PrivateKey | None
    role: str
    task: str = "test.task"
    configuration: msgspec.Struct = field(default_factory=LinearConfig)
    table: Table = field(default_factory=people)
    keyless: bool = False

    def __call__(self, channel: Channel) -> Peer:
        peer = handshake(
            channel,
            task=self.task,
            role=self.role,
            configuration=self.configuration,
            table=self.table,
            public=None if self.key is None else self.key.public,
            keyless=self.keyless,
        )
        channel.send(Next())
        channel.receive(Next)
        return peer


def meet(first: Side, second: Side) -> list[Any]:
    """What each side returned or raised. A side that hangs fails the test."""
    ends = loopback_pair("bank", "shop")
    outcomes: list[Any] = [None, None]

    def run(place: int, side: Side) -> None:
        try:
            with ends[place] as channel:
                outcomes[place] = side(channel)
        except Exception as error:
            outcomes[place] = error

    threads = [
        threading.Thread(target=run, args=(i, side), daemon=True) for i, side in enumerate((first, second))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not any(thread.is_alive() for thread in threads), f"a side hangs; outcomes: {outcomes}"
    return outcomes


def pair(small, first: dict[str, Any], second: dict[str, Any]) -> list[Any]:
    return meet(
        replace(Job(small[0], ACTIVE), **first),
        replace(Job(small[1], PASSIVE), **second),
    )


def test_both_learn_who_the_other_is(small):
    bank, shop = pair(small, {"table": people(4, 2)}, {"table": people(4, 5)})
    assert (bank.name, bank.columns, bank.public) == ("shop", 5, small[1].public)
    assert (shop.name, shop.columns, shop.public) == ("bank", 2, small[0].public)
    assert bank.session == shop.session


def test_a_passive_party_may_come_without_a_key_where_it_needs_none(key):
    bank, shop = meet(Job(key, ACTIVE, keyless=True), Job(None, PASSIVE, keyless=True))
    assert bank.key is None
    assert shop.public == key.public
    assert bank.session == shop.session
    with pytest.raises(HandshakeError, match="shop sent no public key"):
        _ = bank.public


@pytest.mark.parametrize(("roles", "keyless"), [((ACTIVE, PASSIVE), False), ((PASSIVE, ACTIVE), True)])
def test_a_key_that_is_needed_and_missing_is_told_to_both(key, roles, keyless):
    bank, shop = meet(Job(key, roles[0], keyless=keyless), Job(None, roles[1], keyless=keyless))
    assert type(bank) is HandshakeError
    assert "shop sent no public key, which bank needs for 'test.task'" in str(bank)
    assert isinstance(shop, ChannelError)


def test_who_has_no_key_takes_no_test_key(small):
    _, shop = meet(Job(small[0], ACTIVE, keyless=True), Job(None, PASSIVE, keyless=True))
    assert type(shop) is HandshakeError
    assert "shop refuses the public key of bank" in str(shop)
    assert "test key" in str(shop)


# --- what two honest parties can get wrong: HandshakeError on both sides, with one text --------------------


@pytest.mark.parametrize(
    ("first", "second", "texts"),
    [
        (
            {"task": "fit"},
            {"task": "predict"},
            ["bank wants to run 'fit', but shop 'predict'", "shop wants to run 'predict', but bank 'fit'"],
        ),
        (
            {"role": PASSIVE},
            {},
            ["bank and shop are both passive: exactly one", "shop and bank are both passive: exactly one"],
        ),
        (
            {},
            {"role": ACTIVE},
            ["bank and shop are both active: exactly one", "shop and bank are both active: exactly one"],
        ),
        (
            {"table": people(4)},
            {"table": people(3)},
            ["bank has 4 rows but shop 3: align", "shop has 3 rows but bank 4: align"],
        ),
        (
            {"table": people(4)},
            {"table": replace(people(4), ids=("person 0", "person 1", "person 2", "stranger"))},
            ["the 4 row ids of bank and shop differ, or", "the 4 row ids of shop and bank differ, or"],
        ),
        (
            {"table": people(4)},
            {"table": people(4).take(np.array([0, 1, 3, 2]))},
            ["or stand in another order: both need the same ids in the same order"] * 2,
        ),
    ],
    ids=["task", "both passive", "both active", "row counts", "ids", "order"],
)
def test_a_mismatch_is_named_on_both_sides(small, first, second, texts):
    outcomes = pair(small, first, second)
    for outcome, text in zip(outcomes, texts, strict=True):
        assert type(outcome) is HandshakeError
        assert text in str(outcome)


def test_the_differing_settings_are_named_on_both_sides(small):
    ours = LinearConfig(epochs=5, learning_rate=0.05, seed=1)
    theirs = LinearConfig(epochs=5, learning_rate=0.1, seed=2)
    bank, shop = pair(small, {"configuration": ours}, {"configuration": theirs})
    assert type(bank) is type(shop) is HandshakeError
    for error, me, mine, peer, theirs in (
        (bank, "bank", (0.05, 1), "shop", (0.1, 2)),
        (shop, "shop", (0.1, 2), "bank", (0.05, 1)),
    ):
        assert str(error) == (
            f"learning_rate is {mine[0]} at {me} but {theirs[0]} at {peer}, seed is {mine[1]} at {me} but"
            f" {theirs[1]} at {peer}: both parties must configure the same"
        )


def test_what_follows_from_another_name_is_no_difference_of_its_own():
    mine = {"algorithm.name": "gbdt", "algorithm.max_depth": 3, "split.test": 0.2}
    theirs = {"algorithm.name": "linear", "algorithm.epochs": 3, "split.test": 0.1}
    texts = [msgspec.json.encode(settings).decode() for settings in (mine, theirs)]
    assert differences("a", texts[0], "b", texts[1]) == [
        "algorithm.name is 'gbdt' at a but 'linear' at b",
        "split.test is 0.2 at a but 0.1 at b",
    ]


def test_of_very_many_differences_some_are_counted():
    mine = msgspec.json.encode({f"{place}\x1b": "long " * 100 for place in range(30)}).decode()
    with pytest.raises(HandshakeError) as caught:
        compare_settings("a", mine, "b", "{}")
    assert str(caught.value).count("not set at b") == 12
    assert "and 18 more: both parties must configure the same" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 3000


class Older(msgspec.Struct, frozen=True):
    epochs: int = 4


class Newer(msgspec.Struct, frozen=True):
    epochs: int = 4
    patience: int | None = None


def test_a_setting_that_one_side_does_not_have_differs_even_from_none(small):
    bank, shop = pair(small, {"configuration": Older()}, {"configuration": Newer()})
    assert type(bank) is type(shop) is HandshakeError
    assert "patience is not set at bank but None at shop" in str(bank)
    assert "patience is None at shop but not set at bank" in str(shop)


def test_the_task_is_compared_first(small):
    """Other tasks have other configurations; naming those would hide the cause."""
    other = {"task": "other", "configuration": Older(), "table": people(3), "role": ACTIVE}
    for outcome in pair(small, {}, other):
        assert "wants to run" in str(outcome)


def test_the_same_key_pair_on_both_sides(small):
    again = hecore.PrivateKey(small[0].p, small[0].q, small[0].nonce, insecure_test_key=True)
    bank, shop = pair(small, {}, {"key": again})
    assert type(bank) is type(shop) is HandshakeError
    assert "shop uses the same key pair as bank: each needs its own" in str(bank)
    assert "bank uses the same key pair as shop" in str(shop)


def test_the_same_modulus_under_another_nonce_is_the_same_key(small):
    nonces = (n for n in range(small[0].nonce + 1, 10_000) if works(small[0], n))
    again = hecore.PrivateKey(small[0].p, small[0].q, next(nonces), insecure_test_key=True)
    assert again.public != small[0].public
    for outcome in pair(small, {}, {"key": again}):
        assert type(outcome) is HandshakeError
        assert "the same key pair" in str(outcome)


def works(key: hecore.PrivateKey, nonce: int) -> bool:
    with suppress(hecore.InvalidKey):
        hecore.PrivateKey(key.p, key.q, nonce, insecure_test_key=True)
        return True
    return False


def test_a_test_key_does_not_meet_a_real_one_whoever_has_it(small, key):
    for places in ((key, small[1]), (small[0], key)):
        outcomes = pair(small, {"key": places[0]}, {"key": places[1]})
        tester = "shop" if places[0] is key else "bank"
        for outcome in outcomes:
            assert type(outcome) is HandshakeError
            assert f"{tester} uses an insecure test key" in str(outcome)
            assert f"{tester} needs a key made without insecure_test_key" in str(outcome)


def test_two_real_keys_meet(key):
    other = hecore.generate_key()
    bank, shop = meet(Job(key, ACTIVE), Job(other, PASSIVE))
    assert bank.public == other.public
    assert shop.public == key.public
    assert not bank.public.insecure_test_key


# --- what only a deviating party sends: refused here, and it hears why -------------------------------------


class Forging:
    """A channel whose party sends a Hello with other fields than its own code wrote."""

    def __init__(self, channel: Channel, fields: dict[str, Any]) -> None:
        self._channel, self._fields = channel, fields

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def send(self, message: Message) -> None:
        if isinstance(message, Hello):
            fields = msgspec.structs.asdict(message) | self._fields
            names = [(name, Any) for name in fields if name != "payload"]
            settings = {"bases": (Message,), "frozen": True, "kw_only": True, "tag": "hello"}
            message = msgspec.defstruct("Unchecked", names, **settings)(**fields)
        self._channel.send(message)


def forged(job: Job, key_bytes: bytes | None = None, **fields: Any) -> Side:
    """A side whose Hello has these fields or this key, and that goes on as if all were well."""
    if key_bytes is not None:
        fields["payload"] = (key_bytes,)
    return lambda channel: job(Forging(channel, fields))


@pytest.fixture(scope="module")
def forger() -> Job:
    return Job(hecore.generate_key(), PASSIVE)


def odd_product(bits: int) -> int:
    """A product of two primes of bits/2 bits, without any structure."""
    first = gmpy2.next_prime(3 << (bits // 2 - 2))
    return int(first * gmpy2.next_prime(first + (1 << (bits // 2 - 3))))


def wire_key(n: int, *, marked: bool = False) -> bytes:
    """The wire form of a modulus that no PublicKey would hold."""
    data = n.to_bytes(-(-n.bit_length() // 8), "little")
    return (
        b"HECK"
        + b"".join(
            value.to_bytes(size, "little")
            for value, size in ((1, 2), (int(marked), 2), (0, 4), (len(data), 4))
        )
        + data
    )


BAD_KEYS = {
    "short": (wire_key(odd_product(1024)), "1024 bits can be factored"),
    "even": (wire_key(1 << 2047), "even"),
    "prime": (wire_key(int(gmpy2.next_prime(1 << 2047))), "is prime"),
    "small factor": (wire_key((odd_product(2048) // 7 | 1) * 7), "prime factor below"),
    "perfect power": (wire_key(int(gmpy2.next_prime(3 << 1022)) ** 2), "perfect power"),
    "zero": (wire_key(0), "positive"),
    "truncated": (wire_key(odd_product(2048))[:-1], "bytes in a message of"),
    "huge length": (b"HECK\1\0\0\0\0\0\0\0\xff\xff\xff\xff", "bytes in a message of"),
    "nothing": (b"", "needs 16 bytes"),
    "other magic": (b"RSAK" + wire_key(odd_product(2048))[4:], "public key"),
    "pickle": (b"\x80\x04K\x01.", "needs 16 bytes"),
}


def test_the_forger_passes_with_a_good_key(key, forger):
    """Otherwise the tests below would pass for another reason."""
    assert wire_key(key.public.n) == dump_key(replace(key.public, nonce=0))
    bank, shop = meet(Job(key, ACTIVE), forged(forger, wire_key(odd_product(2048))))
    assert isinstance(bank, Peer)
    assert isinstance(shop, Peer)


@pytest.mark.parametrize("kind", BAD_KEYS)
def test_a_bad_foreign_key_is_refused_and_its_owner_told(key, forger, kind):
    data, text = BAD_KEYS[kind]
    bank, shop = meet(Job(key, ACTIVE), forged(forger, data))
    assert type(bank) is HandshakeError
    assert "bank refuses the public key of shop: " in str(bank)
    assert text in str(bank)
    assert isinstance(bank.__cause__, hecore.InvalidKey | hecore.WireFormatError)
    assert type(shop) is PeerAborted
    assert text in shop.reason


def test_a_short_key_is_refused_among_test_keys_too_unless_marked(small):
    job = Job(small[1], PASSIVE)
    bank, shop = meet(Job(small[0], ACTIVE), forged(job, wire_key(odd_product(1024))))
    assert type(bank) is HandshakeError
    assert "can be factored" in str(bank)
    assert type(shop) is PeerAborted
    bank, _ = meet(Job(small[0], ACTIVE), forged(job, wire_key(odd_product(1024), marked=True)))
    assert isinstance(bank, Peer)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"role": "boss"}, "role"),
        ({"role": "passive\n"}, "role"),
        ({"task": ""}, "task"),
        ({"task": "t" * 10_000}, "task"),
        ({"rows": 0}, "rows"),
        ({"rows": -4}, "rows"),
        ({"rows": "4"}, "rows"),
        ({"columns": 0}, "columns"),
        ({"columns": -2}, "columns"),
        ({"columns": 1 << 40}, "columns"),
        ({"columns": 2.5}, "columns"),
        ({"alignment": "00"}, "alignment"),
        ({"alignment": "Z" * 64}, "alignment"),
        ({"configuration": "{" + " " * 70_000 + "}"}, "configuration"),
        ({"configuration": {"epochs": 1}}, "configuration"),
        ({"more": 1}, "more"),
        ({"payload": (b"a", b"b")}, "2 public keys"),
    ],
)
def test_a_malformed_hello_is_refused_and_its_sender_told(key, forger, fields, text):
    bank, shop = meet(Job(key, ACTIVE), forged(forger, **fields))
    assert type(bank) is MalformedMessage
    assert text in str(bank)
    assert type(shop) is PeerAborted
    assert text in shop.reason


@pytest.mark.parametrize(
    "configuration", ["", "no JSON", "[1]", "5", "null", '"text"', "[" * 30_000, '{"a": 1']
)
def test_a_configuration_that_is_no_object_is_refused(key, forger, configuration):
    bank, shop = meet(Job(key, ACTIVE), forged(forger, configuration=configuration))
    assert type(bank) is HandshakeError
    assert "the configuration of shop is no JSON object" in str(bank)
    assert type(shop) is PeerAborted


@pytest.mark.parametrize("setting", ['{"%s": 1}' % ("e" * 60_000), '{"epochs": "%s"}' % ("4" * 60_000)])
def test_a_foreign_setting_is_shown_in_part(key, forger, setting):
    bank, _ = meet(Job(key, ACTIVE), forged(forger, configuration=setting))
    assert type(bank) is HandshakeError
    assert len(str(bank)) < 2000


def test_another_message_instead_of_a_hello_stops_both(key):
    def impatient(channel: Channel) -> Any:
        channel.send(Next())
        channel.receive(Hello)
        return channel.receive(Next)

    bank, shop = meet(Job(key, ACTIVE), impatient)
    assert isinstance(bank, ChannelError)
    assert "expected 'hello' from shop, but its next message is 'test.next'" in str(bank)
    assert type(shop) is PeerAborted
    assert "expected 'hello'" in shop.reason


def test_a_peer_that_leaves_before_its_hello(key):
    bank, _ = meet(Job(key, ACTIVE), lambda channel: None)
    assert isinstance(bank, ChannelError)
    assert "shop closed the channel" in str(bank)


def test_a_hello_shows_no_ids_and_no_values(small):
    """Beyond the digest of the ids, a peer reads counts and the agreed configuration only."""
    seen = []

    def listener(channel: Channel) -> None:
        seen.append(channel.receive(Hello))

    secret = Table("t", ("alice@example.org", "bob@example.org"), ("income",), np.array([[123.5], [77.25]]))
    meet(Job(small[0], ACTIVE, table=secret), listener)
    (hello,) = seen
    assert (hello.rows, hello.columns, hello.role) == (2, 1, ACTIVE)
    text = msgspec.json.encode(msgspec.structs.asdict(hello) | {"payload": ()}).decode()
    for word in ("alice", "bob", "income", "123.5", "77.25"):
        assert word not in text
    assert hello.payload == (dump_key(small[0].public),)
    assert hello.alignment == secret.alignment().hex()
