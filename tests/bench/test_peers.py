"""Other libraries: known or not, installed or not, and run as they should be."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hecore.bench.cases import all_cases
from hecore.bench.checks import check_cipher
from hecore.bench.peers import PEERS, HeuSubject, Peer, PeerUnavailable, PheSubject, check_peer, make_peer
from hecore.bench.subjects import Subject


def test_versions() -> None:
    assert check_peer("phe")[0].isdigit()
    with pytest.raises(PeerUnavailable, match=r"no adapter for 'tenseal' \(there are phe, heu\)"):
        check_peer("tenseal")
    with pytest.raises(PeerUnavailable, match="no adapter"):
        make_peer("tenseal", 2048)


def test_a_missing_peer_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "absent", Peer(PheSubject, "a-distribution-that-nobody-has", "phe"))
    with pytest.raises(PeerUnavailable, match="not installed here: pip install a-distribution-that-nobody"):
        check_peer("absent")


def test_a_broken_peer_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phe", None)
    with pytest.raises(PeerUnavailable, match="cannot be imported: "):
        check_peer("phe")


def test_what_they_lack_is_a_case() -> None:
    names = {case.name for case in all_cases() if not case.own}
    for adapter in (PheSubject, HeuSubject):
        assert adapter.lacks < names


def test_phe_draws_noise_for_every_ciphertext(subjects: dict[str, Subject]) -> None:
    phe = subjects["phe"]
    batch = phe.encrypt(np.zeros(5, dtype=np.int64))
    assert np.unique(phe.marks(batch)).size == 5
    before = phe.marks(batch)
    assert not np.isin(phe.marks(phe.rerandomize(batch)), before).any()


def test_phe_fills_empty_bins(subjects: dict[str, Subject]) -> None:
    phe = subjects["phe"]
    batch = phe.encrypt(np.array([5, -7, 9]))
    codes = np.array([[0], [2], [0]], dtype=np.uint8)
    assert phe.decrypt(phe.histogram(batch, codes, 4)).tolist() == [[14, 0, -7, 0]]


def test_heu_where_it_is_installed() -> None:
    pytest.importorskip("heu", reason="sf-heu is not installed")
    heu = make_peer("heu", 2048)
    for case in all_cases():
        if case.suits(heu):
            work = case.prepare(heu, 1 if case.name == "keygen" else 5)
            work.check(work.run())
    values = np.array([3, 3, -4])
    check_cipher(heu, heu.encrypt(values), values)
