"""Settings, tokens, audit log, limits and features: what is wrong is named, defaults are safe."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from hecore.algorithms.channel import AllowList, CurveKeys
from hecore.algorithms.data import Table
from hecore.algorithms.errors import AuthenticationError, ConfigurationError, MalformedMessage, TableError
from hecore.algorithms.gbdt.binning import ColumnBins
from hecore.algorithms.serving import SqliteFeatures, limits
from hecore.algorithms.serving import messages as msg
from hecore.algorithms.serving.audit import AuditLog
from hecore.algorithms.serving.callers import Callers
from hecore.algorithms.serving.features import Adapted, open_features
from hecore.algorithms.serving.limits import DAY, Daily, Rate
from hecore.algorithms.serving.settings import load_settings

LEAST = '[party]\nkeys = "keys"\n[peers.shop]\ndial = "tcp://127.0.0.1:5"\n'


def settings_of(tmp_path: Path, text: str) -> object:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    return load_settings(path)


def test_defaults_bound_what_can_be_asked(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, LEAST)
    assert settings.limits.rate(active=True) == (50, 1000)
    assert settings.limits.rate(active=False) == (1000, 10_000)
    assert (settings.limits.daily(active=True), settings.limits.daily(active=False)) == (5, 20)
    assert (settings.scores.probability_step, settings.scores.digits) == (0.001, 3)
    assert settings.scores.when_down == "error"
    assert settings.http.address == "127.0.0.1"
    assert settings.audit.ids == "hash"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[party]", "party.keys is not set"),
        (LEAST + "[limits]\nrows_per_second = 0\n", "limits.rows_per_second = 0: expected `float` > 0.0"),
        (LEAST + '[limits]\nburst = "9"\n', "limits.burst = '9': expected `float`, got `str`"),
        (
            LEAST + "[limits]\nper_id_per_dy = 3\n",
            "limits.per_id_per_dy is no key here: did you mean 'per_id_per_day'? there are rows_per_second,",
        ),
        (LEAST + "[limit]\nburst = 3.0\n", "limit is no key here: did you mean 'limits'? there are party,"),
        (
            LEAST + '[scores]\nwhen_down = "guess"\n',
            "scores.when_down = 'guess': invalid enum value 'guess'; one of 'error', 'active-only'",
        ),
        (LEAST + "[http]\nmax_rows = 20000\n", "http.max_rows = 20000: expected `int` <= 10000"),
        ("http = 8080\n" + LEAST, "http = 8080: write [http], and address, port, certificate"),
        (LEAST + '[http]\naddress = "0.0.0.0"\n', "http: address = '0.0.0.0' would show tokens"),
        (LEAST + '[http]\ncertificate = "a.pem"\n', "http: certificate and key: both, or neither"),
        (LEAST.replace("5", "70000"), "peers.shop.dial = 'tcp://127.0.0.1:70000': an address is written"),
        (
            LEAST.replace("dial", "dail"),
            "peers.shop.dail is no key here: did you mean 'dial'? there are dial",
        ),
        (LEAST + "[peers.clinic]\ndial = 7\n", "peers.clinic.dial = 7: expected `str`, got `int`"),
        (
            '[party]\nkeys = "keys"\n[peers]\nshop = "tcp://a:1"\n',
            "peers.shop = 'tcp://a:1': write [peers.shop], and dial below it",
        ),
        (
            '[party]\nkeys = "keys"\n[peers.""]\n',
            "peers: the name of a table in it: expected `str` of length",
        ),
        ('[party]\nkeys = "keys"\n[peers.shop]\n', "peers.shop has no dial"),
        ('[party]\nkeys = "keys"\n[peers]\n', "at least one other party"),
        ('folder = "x"\n' + LEAST, "folder is no key here: there are party, peers, job, choice"),
        ("party = ", "is no TOML"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings_of(tmp_path, text)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "serve.toml"))


def test_a_network_address_needs_https_or_a_proxy(tmp_path: Path) -> None:
    for more in ("behind_proxy = true\n", 'certificate = "a.pem"\nkey = "b.pem"\n'):
        assert settings_of(tmp_path, f'{LEAST}[http]\naddress = "0.0.0.0"\n{more}')


def test_only_the_peers_named_are_let_in(tmp_path: Path) -> None:
    keys = {name: CurveKeys.generate() for name in ("bank", "shop", "other")}
    keys["bank"].save(tmp_path / "keys")
    AllowList({name: keys[name].public for name in ("shop", "other")}).save(tmp_path / "allowed.toml")
    allowed = settings_of(tmp_path, LEAST).contact().allowed
    assert allowed.find(keys["shop"].public) == "shop"
    assert allowed.find(keys["other"].public) is None
    with pytest.raises(AuthenticationError, match=r"'shopp' is not .*/allowed\.toml: did you mean 'shop'\?"):
        settings_of(tmp_path, LEAST.replace("shop", "shopp")).contact()
    AllowList({}).save(tmp_path / "allowed.toml")
    with pytest.raises(AuthenticationError, match=r"allowed\.toml: `hecore party trust shop FILE\.pub"):
        settings_of(tmp_path, LEAST).contact()


# --- tokens -------------------------------------------------------------------------------------------


def test_tokens_are_found_and_stand_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    callers = Callers({})
    first, second = callers.add("web shop"), callers.add("boss", admin=True, features=True)
    callers.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first not in path.read_text()
    loaded = Callers.load(path)
    assert (loaded.find(first), loaded.find(second), loaded.find("x"), loaded.find("")) == (
        "web shop",
        "boss",
        None,
        None,
    )
    assert loaded.callers["boss"].admin
    assert not loaded.callers["web shop"].features
    fresh = loaded.add("web shop")
    assert loaded.find(first) is None
    assert loaded.find(fresh) == "web shop"


def test_a_tokens_file_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    with pytest.raises(ConfigurationError, match="hecore token"):
        Callers.load(path)
    path.write_text('format = 1\n[callers.x]\nsha256 = "short"\n')
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"callers\.x\.sha256 = 'short'"):
        Callers.load(path)
    path.write_text(f'format = 1\n[callers.x]\nsha256 = "{"0" * 64}"\nburts = 3\n')
    with pytest.raises(ConfigurationError, match=r"callers\.x\.burts is no key here: did you mean 'burst'\?"):
        Callers.load(path)
    path.chmod(0o666)
    with pytest.raises(ConfigurationError, match="changed by others"):
        Callers.load(path)


# --- audit log ----------------------------------------------------------------------------------------


def test_hashes_of_ids_are_the_same_after_a_restart_and_not_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for _ in range(2):
        log = AuditLog(path)
        log.write("scored", ids=["ann", "ben"], caller="x", nothing=None)
        log.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2
    assert lines[0]["ids"] == lines[1]["ids"]
    assert "nothing" not in lines[0]
    assert "ann" not in path.read_text()
    elsewhere = AuditLog(tmp_path / "other.jsonl")
    assert elsewhere.shown("ann") != lines[0]["ids"][0]
    elsewhere.close()
    assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize(("style", "shown"), [("plain", ["ann"]), ("none", None)])
def test_ids_as_configured(tmp_path: Path, style: str, shown: list[str] | None) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", style)  # type: ignore[arg-type]
    log.write("scored", ids=["ann"])
    log.close()
    assert json.loads((tmp_path / "audit.jsonl").read_text()).get("ids") == shown
    assert not (tmp_path / "audit.jsonl.key").exists()


def test_a_log_that_was_moved_away_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    log.write("one")
    path.rename(tmp_path / "old")
    log.write("two")
    log.reopen()
    log.write("three")
    log.close()
    assert [json.loads(line)["event"] for line in (tmp_path / "old").read_text().splitlines()] == [
        "one",
        "two",
    ]
    assert json.loads(path.read_text())["event"] == "three"


# --- limits -------------------------------------------------------------------------------------------


def test_a_bucket_fills_by_time_and_no_further_than_its_burst() -> None:
    now = [0.0]
    rate = Rate(2.0, 10.0, clock=lambda: now[0])
    assert rate.take(10) == 0.0
    assert rate.take(4) == 2.0
    now[0] = 2.0
    assert rate.take(4) == 0.0
    now[0] = 1000.0
    assert rate.take(10) == 0.0
    assert rate.take(1) == 0.5
    assert rate.take(11) == float("inf")


def test_each_key_so_often_a_day() -> None:
    now = [0.0]
    daily = Daily(2, clock=lambda: now[0])
    assert daily.take(["a", "b", "a", "a"]).tolist() == [True, True, True, False]
    assert daily.take(["a", "b", "b"]).tolist() == [False, True, False]
    now[0] = DAY
    assert daily.take(["a"]).tolist() == [True]


def test_keys_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_KEYS", 2)
    daily = Daily(3)
    assert daily.take(["a", "b", "c", "a", "c"]).tolist() == [True, True, False, True, False]


# --- features -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Takes:
    """A model's columns."""

    columns: tuple[str, ...]
    texts: Mapping[str, ColumnBins] = field(default_factory=dict)


@pytest.mark.parametrize("kind", ["csv", "sqlite"])
def test_texts_are_numbered_as_the_model_does(tmp_path: Path, kind: str) -> None:
    """Whatever order they come in; one that the model does not know belongs to the rest, as a missing one."""
    path = tmp_path / f"data.{kind}"
    rows = [("1", "Ulm"), ("2", "Bonn"), ("3", "Rome"), ("4", None)]
    if kind == "csv":
        path.write_text("id,town\n" + "".join(f"{row},{town or ''}\n" for row, town in rows))
    else:
        with sqlite3.connect(path) as base:
            base.execute("CREATE TABLE features (id TEXT PRIMARY KEY, town TEXT)")
            base.executemany("INSERT INTO features VALUES (?, ?)", rows)
        base.close()
    bins = ColumnBins([3.0, 8.0], False, categorical=True, texts=["Ulm", "Bonn"])
    model = Takes(("town",), {"town": bins})
    features = open_features(path, [model], id_column="id", table="features")
    adapted = Adapted(features, model)
    assert adapted.lookup(["1"])[1].tolist() == [[3.0]]
    known, values = adapted.lookup(["4", "3", "2", "x", "1"])
    assert known.tolist() == [True, True, True, False, True]
    assert np.array_equal(values[:, 0], [np.nan, np.nan, 8.0, 3.0], equal_nan=True)
    if isinstance(features, SqliteFeatures):
        features.close()


def make_base(path: Path, kind: str = "TEXT") -> None:
    with sqlite3.connect(path) as base:
        base.execute(f'CREATE TABLE features (id {kind} PRIMARY KEY, "a b" REAL, c INTEGER)')
        base.executemany("INSERT INTO features VALUES (?, ?, ?)", [("1", 0.5, 3), ("2", None, 4)])
    base.close()


@pytest.mark.parametrize("kind", ["TEXT", "INTEGER"])
def test_sqlite_gives_what_is_there_now(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "features.sqlite"
    make_base(path, kind)
    features = open_features(path, [Takes(("c", "a b"))], id_column="id", table="features")
    known, values = features.lookup(["2", "9", "1", "2", "'; DROP TABLE features; --"])
    assert known.tolist() == [True, False, True, True, False]
    assert np.array_equal(values, [[4, np.nan], [3, 0.5], [4, np.nan]], equal_nan=True)
    with sqlite3.connect(path) as base:
        base.execute("UPDATE features SET c = 7 WHERE id = '1'")
    base.close()
    assert features.lookup(["1"])[1].tolist() == [[7, 0.5]]
    assert features.lookup([])[1].shape == (0, 2)
    many = [str(number) for number in range(2000)]
    assert features.lookup(many)[0].sum() == 2
    features.close()


def test_sqlite_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "features.db"
    with pytest.raises(ConfigurationError, match="no such file"):
        SqliteFeatures(path, ["c"])
    make_base(path)
    with pytest.raises(ConfigurationError, match="no table 'customers'"):
        SqliteFeatures(path, ["c"], table="customers")
    with pytest.raises(ConfigurationError, match="no column 'd'"):
        SqliteFeatures(path, ["c", "d"])
    with sqlite3.connect(path) as base:
        base.execute("INSERT INTO features VALUES ('3', 'x', 1)")
    base.close()
    features = SqliteFeatures(path, ["a b"])
    with pytest.raises(TableError, match="a str in column 'a b'"):
        features.lookup(["3"])
    features.close()


def test_a_snapshot_has_the_columns_of_the_models(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("id,a,b,town\n1,2,,Ulm\n2,3,4,Bonn\n")
    features = open_features(path, [Takes(("b", "a"))], id_column="id", table="")
    known, values = features.lookup(["2", "x", "1"])
    assert known.tolist() == [True, False, True]
    assert np.array_equal(values, [[4, 3], [np.nan, 2]], equal_nan=True)
    with pytest.raises(TableError, match="no column 'z'"):
        open_features(path, [Takes(("z",))], id_column="id", table="")
    model = Takes(("town",))
    with pytest.raises(TableError, match="'town' held numbers in training, and holds texts"):
        Adapted(open_features(path, [model], id_column="id", table=""), model)


def test_a_sparse_snapshot() -> None:
    from scipy.sparse import csr_array

    from hecore.algorithms.serving import SnapshotFeatures

    table = Table("t", ["a", "b"], ["x", "y"], csr_array([[0.0, 2.0], [1.0, 0.0]]))
    assert SnapshotFeatures(table).lookup(["b", "a"])[1].tolist() == [[1, 0], [0, 2]]


# --- records ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "rows"),
    [
        ((), 1),
        ((b"\xff",), 1),
        ((b"\x91\xa1x",), 2),
        ((b"\x91\xa0",), 1),
        ((b"\x91\x01",), 1),
        ((b"", b""), 0),
    ],
)
def test_a_question_that_cannot_be_read(payload: tuple[bytes, ...], rows: int) -> None:
    question = msg.Question(process=bytes(16), number=1, model="ab" * 16, rows=rows, payload=payload)
    with pytest.raises(MalformedMessage):
        question.ids()
