"""Parties that go and come back, and packets that fit nothing: never a wrong answer, and always an end."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hecore.algorithms.errors import ChannelError, PeerLost
from hecore.algorithms.free_port import free_port
from hecore.algorithms.messages import Message
from hecore.algorithms.serving import messages as msg
from hecore.algorithms.serving.line import Line
from hecore.algorithms.serving.peers import DeclinedError, Peers
from hecore.algorithms.serving.settings import load_settings

from ..patience import until
from .conftest import Folders, Model, scores_of

EXACT = "[scores]\nprobability_step = 0\n"


@pytest.fixture
def folders(model: Model, tmp_path: Path) -> Folders:
    return Folders.make(tmp_path, [model], active=EXACT)


@pytest.fixture
def peers(folders: Folders) -> Iterator[Peers]:
    """The active party's side of the line alone."""
    settings = load_settings(folders.root / "bank" / "serve.toml")
    peers = Peers("bank", settings.contact(), ["shop"], job="serve")
    yield peers
    peers.close()


class Impostor:
    """A process with shop's keys that answers as a test likes."""

    def __init__(self, folders: Folders) -> None:
        settings = load_settings(folders.root / "shop" / "serve.toml")
        self.questions: list[msg.Question] = []
        self.heard = False
        kinds = (msg.Presence, msg.Question, msg.Answer, msg.Declined)
        self.line = Line("shop", settings.contact(), job="serve", kinds=kinds, on_message=self._on_message)
        self.line.start()

    def _on_message(self, peer: str, message: Message) -> None:
        self.heard = True
        if isinstance(message, msg.Question):
            self.questions.append(message)

    def present(self, mark: bytes = b"i" * 16, model: Model | None = None) -> None:
        until(lambda: self.heard)  # who listens knows the way to the other when that has spoken
        size = 0 if model is None else len(model.shares["shop"].splits)
        offers = () if model is None else (msg.Offer(model="ab" * 16, kind="gbdt", size=size),)
        self.line.send("bank", msg.Presence(process=mark, offers=offers))

    def asked(self) -> msg.Question:
        question: msg.Question = until(lambda: self.questions)[0]
        return question


@pytest.fixture
def impostor(folders: Folders) -> Iterator[Impostor]:
    impostor = Impostor(folders)
    yield impostor
    impostor.line.close()


def ask(peers: Peers) -> Future[msg.Answer]:
    return peers.ask(["shop"], "ab" * 16, ["id0"])["shop"]


def test_answers_fit_questions_by_number_and_process(peers: Peers, impostor: Impostor) -> None:
    impostor.present()
    until(lambda: peers.there("shop"))
    first, second = ask(peers), ask(peers)
    until(lambda: len(impostor.questions) == 2)
    one, two = impostor.questions

    def answer(question: msg.Question, **changes: Any) -> msg.Answer:
        fields = {"process": question.process, "number": question.number, "model": question.model, "rows": 1}
        return msg.Answer(**(fields | changes), payload=(b"\0", b""))

    impostor.line.send("bank", answer(one, number=99))
    impostor.line.send("bank", answer(one, process=b"z" * 16))  # of an earlier process that asked
    impostor.line.send("bank", answer(two))
    assert second.result(60).number == two.number
    assert not first.done()
    impostor.line.send("bank", answer(two))  # once more
    declined = msg.Declined(process=one.process, number=one.number, code="rate", reason="later")
    impostor.line.send("bank", declined)
    with pytest.raises(DeclinedError, match="later"):
        first.result(60)


def test_a_peer_that_was_started_again_ends_what_was_asked_before(peers: Peers, impostor: Impostor) -> None:
    impostor.present()
    until(lambda: peers.there("shop"))
    waiting = ask(peers)
    impostor.asked()
    impostor.present(b"j" * 16)
    with pytest.raises(PeerLost, match="started again"):
        waiting.result(60)
    until(lambda: peers.there("shop"))
    impostor.line.send("bank", msg.Presence(process=b"j" * 16, leaving=True))
    until(lambda: not peers.there("shop"))
    with pytest.raises(PeerLost, match="not there"):
        ask(peers).result(0)


@pytest.mark.parametrize("dial_in", [False, True])
def test_a_peer_that_does_not_come_is_explained_once_as_in_a_job(
    model: Model,
    tmp_path: Path,
    dial_in: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hecore.algorithms.channel.absence.EXPLAIN", 0.2)
    folders = Folders.make(tmp_path, [model], dial_in=dial_in)
    listens, dials = ("bank", "shop") if dial_in else ("shop", "bank")
    file = folders.root / dials / "serve.toml"
    wrong = file.read_text().replace(str(folders.ports[listens]), str(free_port()))
    file.write_text(wrong)
    port = re.findall(r":(\d+)", wrong[wrong.index("dial") :])[0]
    bank, shop = (load_settings(folders.root / name / "serve.toml") for name in ("bank", "shop"))
    peers = Peers("bank", bank.contact(), ["shop"], job="serve")
    other = Line("shop", shop.contact(), job="serve", kinds=(msg.Presence,), on_message=lambda *_: None)
    other.start()
    answers = f"nobody answered; is it started, tcp://127.0.0.1:{port} right, the firewall open?"
    told = [f"{listens} has not come within 0.2 s: {answers}"]
    if dial_in:
        told.append("shop has not come within 0.2 s: nobody came; is it started, does it dial this endpoint")
    try:
        until(lambda: all(text in caplog.text for text in told))
        time.sleep(1.0)
        assert caplog.text.count("has not come within") == len(told)
    finally:
        other.close()
        peers.close()


def test_a_peer_that_comes_in_time_is_not_explained(
    peers: Peers, impostor: Impostor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor.present()
    until(lambda: peers.there("shop"))
    monkeypatch.setattr("hecore.algorithms.channel.absence.EXPLAIN", 0.0)
    time.sleep(1.0)
    assert "has not come" not in caplog.text


def test_a_silent_peer_counts_as_away(
    peers: Peers, impostor: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor.present()
    until(lambda: peers.there("shop"))
    waiting = ask(peers)
    monkeypatch.setattr("hecore.algorithms.serving.peers.SILENCE", 0.5)
    with pytest.raises(PeerLost, match="silent"):
        waiting.result(60)


def test_packets_that_have_no_place_here_are_dropped(
    peers: Peers, impostor: Impostor, caplog: pytest.LogCaptureFixture
) -> None:
    until(lambda: impostor.heard)
    impostor.line.job = "another"
    impostor.present()
    until(lambda: "bank: dropped packets from shop: it belongs to 'another'" in caplog.text)
    until(lambda: "shop: dropped packets from bank: it belongs to 'serve'" in caplog.text)
    assert not peers.there("shop")
    impostor.line.job = "serve"
    impostor.line.send("bank", msg.question(bytes(16), 1, "ab" * 16, ["id0"]))
    until(lambda: "a 'serve.question' has no place here" in caplog.text)
    impostor.line.me = "clinic"
    impostor.present()
    until(lambda: "it is from 'clinic' to 'bank'" in caplog.text)
    assert not peers.there("shop")
    assert peers.line.failure is None


WRONG = [
    lambda q, size: (b"\0" * 2, b"\0"),  # another number of rows
    lambda q, size: (b"\7", b""),  # a status that there is not
    lambda q, size: (b"\0", bytes(-(-size // 8) + 1)),  # more bits
    lambda q, size: (b"\0", b"\xff" * -(-size // 8)),  # bits behind the end
    lambda q, size: (b"\0",),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_that_does_not_fit_is_no_score(
    model: Model, folders: Folders, impostor: Impostor, wrong: Any
) -> None:
    size = len(model.shares["shop"].splits)
    assert size % 8, "the test wants spare bits"
    with folders.active() as bank:
        impostor.present(model=model)
        bank.ready()
        question: list[msg.Question] = []

        def reply(peer: str, message: Message) -> None:
            if isinstance(message, msg.Question):
                question.append(message)
                payload = wrong(message, size)
                fields = {"process": message.process, "number": message.number, "model": message.model}
                impostor.line.send("bank", msg.Answer(**fields, rows=1, payload=payload))

        impostor.line._on_message = reply
        response = bank.post(body={"ids": ["id0"]})
    assert question
    assert (response.status_code, response.json()["error"]["code"]) == (502, "peer_failed")


def test_a_share_of_another_training_is_refused(model: Model, folders: Folders, impostor: Impostor) -> None:
    with folders.active() as bank:
        size = len(model.shares["shop"].splits) + 1
        until(lambda: impostor.heard)
        impostor.line.send(
            "bank",
            msg.Presence(process=b"i" * 16, offers=(msg.Offer(model="ab" * 16, kind="gbdt", size=size),)),
        )
        bank.ready()
        (entry,) = bank.get("/models").json()["models"]
        assert not entry["ready"]
        assert f"of {size} splits" in entry["why_not"]
        assert bank.post(body={"ids": ["id0"]}).status_code == 502


def test_a_passive_party_that_hangs_ends_in_the_time_limit(
    model: Model, folders: Folders, impostor: Impostor
) -> None:
    settings = folders.root / "bank" / "serve.toml"
    settings.write_text(settings.read_text() + "[http]\ntime_limit = 0.4\n")
    with folders.active() as bank:
        impostor.present(model=model)
        bank.ready()
        began = time.monotonic()
        response = bank.post(body={"ids": ["id0"]})
        assert response.status_code in (503, 504)
        assert time.monotonic() - began < 30


def test_degraded_answers_and_recovery(model: Model, folders: Folders) -> None:
    """Away from the start, there, away, there again: an error that says so, or the right score."""
    ids = [f"id{row}" for row in range(10)]
    with folders.active() as bank:
        for _ in range(2):
            away = bank.post(body={"ids": ids})
            assert (away.status_code, away.json()["error"]["code"]) == (503, "peer_down")
            assert "shop" in away.json()["error"]["message"]
            assert bank.get("/healthz", caller=None).status_code == 503
            with folders.passive("shop"):
                bank.ready()
                got = scores_of(bank.post(body={"ids": ids}))
                np.testing.assert_allclose(got, model.scores[:10], rtol=0, atol=1e-12)
                assert bank.get("/healthz", caller=None).json() == {"status": "ok", "away": []}
            until(lambda: not bank.service.peers.there("shop"))


def test_active_only_scores_are_marked(model: Model, tmp_path: Path) -> None:
    active = EXACT + 'when_down = "active-only"\n'
    folders = Folders.make(tmp_path, [model], active=active)
    with folders.active() as bank:
        response = bank.post(body={"ids": ["id0", "id1"]})
        body = response.json()
        assert (response.status_code, body["complete"], body["missing"]) == (200, False, ["shop"])
        got = scores_of(response)
        assert bank.audit("scored")[-1]["missing"] == ["shop"]
        assert bank.get("/healthz", caller=None).json()["status"] == "degraded"
        with folders.passive("shop"):
            whole = bank.ready().post(body={"ids": ["id0", "id1"]})
    assert whole.json()["complete"] is True
    assert "missing" not in whole.json()
    np.testing.assert_allclose(scores_of(whole), model.scores[:2], rtol=0, atol=1e-12)
    assert not np.allclose(got, model.scores[:2])


def test_two_processes_of_one_party_each_get_their_answers(folders: Folders, model: Model) -> None:
    """`hecore predict` beside `hecore serve`."""
    settings = load_settings(folders.root / "bank" / "serve.toml")
    with folders.passive("shop"):
        both = [Peers("bank", settings.contact(), ["shop"], job="serve") for _ in range(2)]
        try:
            for peers in both:
                until(lambda peers=peers: peers.there("shop"))
            asked = [(row, peers, ["id0"] * (row + 1)) for row in range(10) for peers in both]
            answers = [(row, peers.ask(["shop"], "ab" * 16, ids)["shop"]) for row, peers, ids in asked]
            assert [answer.result(60).rows for _, answer in answers] == [row + 1 for row, _ in answers]
        finally:
            for peers in both:
                peers.close()


def test_a_question_that_fails_ends_nothing_else(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that is too large to be answered, nor a fault of the program."""
    settings = folders.root / "bank" / "serve.toml"
    settings.write_text(settings.read_text() + "[http]\ntime_limit = 3.0\n")
    with folders.passive("shop") as shop, folders.active() as bank:
        bank.ready()
        with monkeypatch.context() as patch:
            patch.setattr("hecore.algorithms.serving.passive.MAX_BITS", 1)
            response = bank.post(body={"ids": ["id0"]})
            assert "too many for one answer" in response.json()["error"]["message"]
        with monkeypatch.context() as patch:
            patch.setattr(shop, "answer", None)
            assert bank.post(body={"ids": ["id0"]}).json()["error"]["code"] == "peer_down"
        assert shop.line.failure is None
        assert bank.post(body={"ids": ["id0"]}).status_code == 200


def test_a_stranger_is_not_let_in(folders: Folders, model: Model, tmp_path: Path) -> None:
    """A process with keys of its own hears nothing, and the party goes on."""
    other = Folders.make(tmp_path / "elsewhere", [model])
    settings = folders.root / "bank" / "serve.toml"
    stranger = other.root / "bank" / "serve.toml"
    address = f'dial = "tcp://127.0.0.1:{folders.ports["shop"]}"'
    stranger.write_text(
        stranger.read_text().replace(f'dial = "tcp://127.0.0.1:{other.ports["shop"]}"', address)
    )
    with folders.passive("shop") as shop:
        outside = Peers("bank", load_settings(stranger).contact(), ["shop"], job="serve")
        inside = Peers("bank", load_settings(settings).contact(), ["shop"], job="serve")
        try:
            until(lambda: inside.there("shop"))
            assert not outside.there("shop")
            assert shop.line.failure is None
        finally:
            outside.close()
            inside.close()


def test_an_address_that_is_taken(folders: Folders) -> None:
    with folders.passive("shop"), pytest.raises(ChannelError, match="cannot listen"), folders.passive("shop"):
        pass
