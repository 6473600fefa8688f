"""Job files: read, checked, and refused with the key, its value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.job.config import JobFile, load_job
from hecore.algorithms.job.template import job_template

BANK = """\
job = "credit"
[party]
name = "bank"
role = "active"
keys = "bank.keys"
listen = "tcp://0.0.0.0:5701"
[peers.shop]
[data]
file = "bank.csv"
label = "y"
[algorithm]
name = "gbdt"
"""
SHOP = """\
job = "credit"
[party]
name = "shop"
role = "passive"
keys = "shop.keys"
[peers.bank]
dial = "tcp://bank.example:5701"
[data]
file = "shop.parquet"
[algorithm]
name = "gbdt"
"""


def read(folder: Path, text: str) -> JobFile:
    path = folder / "job.toml"
    path.write_text(text)
    return load_job(path)


def test_both_sides_of_a_job_agree(tmp_path: Path) -> None:
    bank, shop = read(tmp_path, BANK), read(tmp_path, SHOP)
    assert bank.is_active
    assert not shop.is_active
    assert bank.terms() == shop.terms()
    assert bank.parameters == GBDTConfig()
    assert bank.folder == tmp_path / "runs" / "credit"
    assert bank.at(bank.data.file) == tmp_path / "bank.csv"


def test_what_must_be_alike_is_in_the_terms_and_nothing_else(tmp_path: Path) -> None:
    bank = read(tmp_path, BANK)
    own = BANK.replace("bank.csv", "other.csv") + '[run]\nbackend = "gmp"\nwait = 5.0\n'
    assert read(tmp_path, own).terms() == bank.terms()
    for changed in (
        BANK + "max_depth = 3\n",
        BANK + "[split]\ntest = 0.3\n",
        BANK + "[alignment]\nmin_intersection = 7\n",
        BANK + "[key]\nbits = 3072\n",
        BANK.replace('"credit"', '"debit"'),
        BANK.replace('"bank"', '"bench"'),
    ):
        assert read(tmp_path, changed).terms() != bank.terms()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"active"', '"boss"', "party.role = 'boss': invalid enum value 'boss'; one of 'active', 'passive'"),
        ('role = "active"\n', "", "party.role is not set"),
        ("file =", "fille =", "data.fille is no key here: did you mean 'file'? there are file, id, label"),
        ('"gbdt"', '"forest"', "algorithm.name = 'forest': one of 'gbdt', 'linear'"),
        ('name = "gbdt"', "max_depth = 3", "algorithm.name = None: one of"),
        ('"gbdt"', '"gbdt"\nmax_depth = "3"', "algorithm.max_depth = '3': expected `int`, got `str`"),
        ('"gbdt"', '"gbdt"\nmax_dept = 3', "algorithm.max_dept is no key here: did you mean 'max_depth'?"),
        ('"gbdt"', '"gbdt"\nmax_depth = 300', "algorithm: max_depth = 300 is not in 0 … 62"),
        (
            '"gbdt"',
            '"gbdt"\nobjective = "x"',
            "algorithm.objective = 'x': invalid enum value 'x'; one of 'bin",
        ),
        (
            '"gbdt"',
            '"gbdt"\nobjective = "custom"',
            'objective = "custom" needs a function: train from Python',
        ),
        (
            '"gbdt"',
            '"linear"\nmax_bin = 8',
            "algorithm.max_bin is no key here: it is one of [algorithm] name = 'gbdt'; there are obj",
        ),
        ('"gbdt"', '"linear"\nmask = 8', "algorithm.mask is no key here: there are objective, mode"),
        ("[peers.shop]", "[peers.shop]\nport = 3", "peers.shop.port is no key here: there are dial"),
        ("[peers.shop]", "[peers.bank]", "peers.bank is this party itself"),
        ("[peers.shop]\n", "[peers]\n", "peers is empty"),
        ("[data]", "[split]\ntest = 1.5\n[data]", "split.test = 1.5: expected `float` < 1.0"),
        ("[data]", "[split]\ntest = 0.6\nvalidation = 0.4\n[data]", "split: validation + test = 1: below 1"),
        ("[data]", '[split]\nkey = "short"\n[data]', "split.key = 'short': expected `str` of length >= 16"),
        ("[data]", "[key]\nbits = 1024\n[data]", "key: bits = 1024: a modulus of 1024 bits protects nothing"),
        ("[data]", '[key]\nfile = "k"\n[data]', "key: file and passphrase_file: both, or neither"),
        ('label = "y"', "", "data.label is not set: the active party names its column of labels"),
        ('listen = "tcp://0.0.0.0:5701"', "", "neither party.listen nor peers.shop.dial is set"),
        ("tcp://0.0.0.0:5701", "0.0.0.0:5701", "party.listen = '0.0.0.0:5701': an address is written tcp://"),
        ("[data]", "[run]\nwait = -1.0\n[data]", "run.wait = -1.0: expected `float` > 0.0"),
        ("[data]", '[run]\nbackend = "abacus"\n[data]', "run.backend = 'abacus': invalid enum value"),
        ('"y"', '"y"\ndrop = "a"', "data.drop = 'a': expected `array`, got `str`"),
        ('"credit"', '"../credit"', "job = '../credit': a name has letters, digits"),
        ('"bank"', '"b\\u001b[2J"', "party.name = 'b\\x1b[2J': a name has letters"),
        (
            "5701",
            "99999",
            "party.listen = 'tcp://0.0.0.0:99999': an address is written tcp://HOST:PORT, with",
        ),
        ('"gbdt"', '["gbdt"]', "algorithm.name = ['gbdt']: one of 'gbdt', 'linear'"),
        ('"gbdt"', '"gbdt"\nearly_stopping_rounds = 3', "early_stopping_rounds needs validation rows"),
        ("[peers.shop]", '[peers]\nshop = "tcp://x:1"', "peers.shop = 'tcp://x:1': write [peers.shop]"),
        ("[data]", "[data", "job.toml is no TOML"),
        ('job = "credit"', "version = 2\njob = 'credit'", "version = 2: invalid enum value 2"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in BANK
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, BANK.replace(old, new, 1))
    assert told in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "job.toml"))


def test_no_choice_is_offered_that_a_job_cannot_have(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, BANK + 'objective = "x"\n')
    assert "'count:poisson'" in str(caught.value)
    assert "custom" not in str(caught.value)


def test_all_mistakes_are_told_together_and_none_that_follows_from_another(tmp_path: Path) -> None:
    text = BANK.replace("role =", "rolle =").replace("[peers.shop]", "[peers.shop]\ndial = 7\ndail = 8")
    text = text.replace('"gbdt"', '"gbdt"\nmax_dept = 3\nlearning_rate = "x"').replace('"y"', "3")
    text += '[key]\nfille = "k"\npassphrase_file = "p"\n[split]\ntest = 0.6\nvalidation = 0.4\n'
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    first, *rest = str(caught.value).splitlines()
    assert first == f"{tmp_path / 'job.toml'}: 8 mistakes"
    assert [line.split(": ")[0] for line in rest] == [
        "  party.rolle is no key here",
        "  peers.shop.dial = 7",
        "  peers.shop.dail is no key here",
        "  data.label = 3",
        "  key.fille is no key here",
        "  split",
        "  algorithm.max_dept is no key here",
        "  algorithm.learning_rate = 'x'",
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "[data]",
            '[peers.other]\ndial = "tcp://x:1"\n[data]',
            "a passive party talks to the active",
        ),
        ('"shop.parquet"', '"shop.parquet"\nlabel = "y"', "data.label = 'y' at a passive party"),
    ],
)
def test_a_passive_party_has_no_label_and_one_peer(tmp_path: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        read(tmp_path, SHOP.replace(old, new, 1))


@pytest.mark.parametrize("algorithm", ["gbdt", "linear"])
def test_the_template_is_a_job_file(tmp_path: Path, algorithm: str) -> None:
    given = {"job": "a b", "file": "ü.csv", "algorithm": algorithm}
    active = read(
        tmp_path,
        job_template(
            name="b-1", role="active", peers=["s.1", "s 2"], listen="tcp://0.0.0.0:1", dial=None, label="y",
            **given,
        ),
    )  # fmt: skip
    passive = read(
        tmp_path,
        job_template(
            name="s.1",
            role="passive",
            peers=["b-1"],
            listen=None,
            dial="tcp://h:1",
            label=None,
            id_column="customer",
            **given,
        ),
    )
    assert (active.data.id, passive.data.id) == ("id", "customer")
    assert active.terms() == passive.terms()
    assert active.split.key is None
    assert "each run draws a new" in active.path.read_text()
    assert list(active.peers) == ["s.1", "s 2"]
    assert (active.job, active.data.file) == ("a b", "ü.csv")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"role": "boss"}, "role = 'boss'"),
        ({"label": None}, "--label"),
        ({"listen": None}, "--listen or --dial"),
        ({"listen": None, "dial": "tcp://h:1", "peers": ["a", "b"]}, "--dial goes to one peer"),
        ({"algorithm": "forest"}, "algorithm = 'forest'"),
    ],
)
def test_a_template_that_would_be_refused_is_not_written(changes: dict[str, object], told: str) -> None:
    given = {
        "job": "j", "name": "b", "role": "active", "peers": ["s"], "file": "f.csv", "label": "y",
        "listen": "tcp://0.0.0.0:1", "dial": None, "algorithm": "gbdt",
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match=told):
        job_template(**(given | changes))  # type: ignore[arg-type]
