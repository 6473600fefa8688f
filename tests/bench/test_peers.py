"""Other libraries: known or not, installed or not, and run as they should be."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from hecore.bench.cases import all_cases, select
from hecore.bench.checks import check_cipher
from hecore.bench.peers import (
    PEERS,
    HeuSubject,
    IpclSubject,
    Peer,
    PeerUnavailable,
    PheSubject,
    check_peer,
    make_peer,
)
from hecore.bench.runner import Plan, run
from hecore.bench.subjects import Subject


def test_versions() -> None:
    assert check_peer("phe")[0].isdigit()
    with pytest.raises(PeerUnavailable, match=r"no adapter for 'tenseal' \(there are phe, heu, ipcl\)"):
        check_peer("tenseal")
    with pytest.raises(PeerUnavailable, match="no adapter"):
        make_peer("tenseal", 2048)


def test_a_missing_peer_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "absent", Peer(PheSubject, "a-distribution-that-nobody-has", "phe"))
    with pytest.raises(PeerUnavailable, match="not installed here: pip install a-distribution-that-nobody"):
        check_peer("absent")
    unbuilt = PEERS["ipcl"]._replace(distribution="a-distribution-that-nobody-has")
    monkeypatch.setitem(PEERS, "absent", unbuilt)
    with pytest.raises(PeerUnavailable, match="not installed here: build https://"):
        check_peer("absent")


def test_a_peer_is_loaded_with_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HECORE_TEST_VARIABLE", "0")
    monkeypatch.setitem(PEERS, "phe", PEERS["phe"]._replace(variables={"HECORE_TEST_VARIABLE": "1"}))
    check_peer("phe")
    assert os.environ["HECORE_TEST_VARIABLE"] == "1"


def test_a_broken_peer_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phe", None)
    with pytest.raises(PeerUnavailable, match="cannot be imported: "):
        check_peer("phe")


def test_what_they_lack_is_a_case() -> None:
    names = {case.name for case in all_cases() if not case.own}
    for adapter in (PheSubject, HeuSubject, IpclSubject):
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
    run_every_case(make_peer("heu", 2048))


def test_ipcl_where_it_is_installed() -> None:
    pytest.importorskip("ipcl_python", reason="ipcl-python is not built here")
    ipcl = make_peer("ipcl", 2048)
    run_every_case(ipcl)
    assert np.unique(ipcl.marks(ipcl.encrypt(np.zeros(20, dtype=np.int64), "classic"))).size == 20


def test_ipcl_has_no_longer_keys() -> None:
    with pytest.raises(PeerUnavailable, match="at most 2048 bits"):
        IpclSubject(3072)


def test_a_run_goes_on_without_a_peer_that_has_no_such_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    class ShortKeys(PheSubject):
        def __init__(self, key_bits: int) -> None:
            if key_bits > 256:
                raise PeerUnavailable("its keys have at most 256 bits")
            super().__init__(key_bits)

    monkeypatch.setitem(PEERS, "short", Peer(ShortKeys, "phe", "phe"))
    record = run(
        Plan(
            select(["add"]),
            peers=["short"],
            backends=("gmp",),
            key_bits=(256, 512),
            batches=[3],
            seconds=1e-4,
            insecure_test_key=True,
        )
    )
    assert [(row.key_bits, row.subject) for row in record.rows] == [(256, "gmp"), (256, "phe"), (512, "gmp")]
    assert record.unavailable == {"short (512 bits)": "its keys have at most 256 bits"}


def run_every_case(peer: Subject) -> None:
    """Each case that the peer has something for, on five elements."""
    for case in all_cases():
        if case.suits(peer):
            work = case.prepare(peer, 1 if case.name == "keygen" else 5)
            work.check(work.run())
    values = np.array([3, 3, -4])
    check_cipher(peer, peer.encrypt(values), values)
