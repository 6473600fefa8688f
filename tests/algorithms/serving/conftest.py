"""Small models in shares, parties that serve them inside this process or in their own, and callers."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn

from hecore.algorithms.channel import AllowList, CurveKeys
from hecore.algorithms.data import Table
from hecore.algorithms.free_port import free_port
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.gbdt.central import CentralModel, train_centrally
from hecore.algorithms.gbdt.model import ActiveShare, PassiveShare, save_share
from hecore.algorithms.gbdt.tables import training_rows
from hecore.algorithms.serving.active import ActiveService
from hecore.algorithms.serving.audit import AuditLog
from hecore.algorithms.serving.callers import Callers
from hecore.algorithms.serving.features import Adapted, SnapshotFeatures
from hecore.algorithms.serving.parts import make_part, make_whole
from hecore.algorithms.serving.passive import PassiveServer
from hecore.algorithms.serving.peers import Peers
from hecore.algorithms.serving.process import load_active, load_passive
from hecore.algorithms.serving.settings import load_settings
from hecore.algorithms.serving.web import Web

from ..patience import until

ROWS = 300
TEXTS = ("tea", "oil", "zinc", "ash", "yew", "elm")
UNLIMITED = "rows_per_second = 1e9\nburst = 1e9\nper_id_per_day = 1_000_000\n"


@dataclass(frozen=True)
class Model:
    """Shares by party, the parties' tables, and what each row must score."""

    shares: dict[str, ActiveShare | PassiveShare]
    tables: dict[str, Table]
    central: CentralModel

    @property
    def scores(self) -> np.ndarray:
        """Predictions of all rows."""
        return self.central.predict(list(self.tables.values()))


def make_model(
    names: Sequence[str] = ("bank", "shop"),
    *,
    model: str = "ab" * 16,
    seed: int = 0,
    label: str = "binary",
    **options: Any,
) -> Model:
    """Trees over two columns a party, some values missing, the last column of each party a category.

    The second party's category has texts, the others' have numbers.
    """
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(ROWS, 2 * len(names)))
    values[:, 1::2] = rng.integers(0, 6, (ROWS, len(names)))
    score = values[:, 0::2].sum(axis=1) + (values[:, 1::2] == 2).sum(axis=1)
    values[rng.random(ROWS) < 0.1, 0] = np.nan
    values[rng.random(ROWS) < 0.1, 2] = np.nan
    y = score if label == "number" else (score > np.median(score)).astype(float)
    if label == "classes":
        y = np.searchsorted(np.quantile(score, [0.3, 0.7]), score).astype(float)
    objective = {"number": "reg:squarederror", "classes": "multi:softprob"}.get(label, "binary:logistic")
    config = GBDTConfig(
        **{"objective": objective, "n_estimators": 8, "max_depth": 4, "max_bin": 12} | options
    )
    ids = [f"id{row}" for row in range(ROWS)]
    tables = {}
    for place, name in enumerate(names):
        part = values[:, 2 * place : 2 * place + 2]
        columns = [f"{name}_x", f"{name}_kind"]
        texts = {f"{name}_kind": TEXTS} if place == 1 else {}
        label_of = y if place == 0 else None
        tables[name] = Table(name, ids, columns, part, label_of, texts, missing=True)
    central = train_centrally(
        config,
        list(tables.items()),
        training_rows([tables[names[0]]], None),
        categorical=[[] if place == 1 else [f"{name}_kind"] for place, name in enumerate(names)],
    )
    return Model(shares_of(central, config, tables, model), tables, central)


def shares_of(
    central: CentralModel, config: GBDTConfig, tables: Mapping[str, Table], model: str
) -> dict[str, ActiveShare | PassiveShare]:
    """The shares that a joint training of the same model would have left."""
    shares: dict[str, ActiveShare | PassiveShare] = {}
    for place, (name, table) in enumerate(tables.items()):
        common: dict[str, Any] = {
            "model": model, "party": name, "config": config, "columns": table.columns,
            "bins": central.bins[place], "splits": central.splits[place],
        }  # fmt: skip
        shares[name] = PassiveShare(**common) if place else ActiveShare(
            **common, peers=tuple(tables)[1:], objective=central.objective.name,
            outputs=central.objective.outputs, start=central.objective.start,
            metric_name=central.objective.metric_name, metrics=central.metrics, forest=central.forest,
        )  # fmt: skip
    return shares


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A party of this process that a busy machine keeps from answering is not taken for away."""
    monkeypatch.setattr("hecore.algorithms.serving.peers.SILENCE", 60.0)


@pytest.fixture(scope="session")
def model() -> Model:
    """A binary model of two parties."""
    return make_model()


@pytest.fixture(scope="session")
def second_model() -> Model:
    """Another model over the same tables."""
    return make_model(model="cd" * 16, n_estimators=3)


def values_of(share: ActiveShare | PassiveShare, table: Table) -> np.ndarray:
    """A table as the share's model takes it."""
    model = make_whole(share) if isinstance(share, ActiveShare) else make_part(share, 16, None)
    return Adapted(SnapshotFeatures(table), model).lookup(list(table.ids))[1]


def cells_of(table: Table, place: int) -> list[Any]:
    """A column as a file has it: texts as texts, None where missing."""
    texts = table.categories.get(table.columns[place])
    column = table.values[:, place].tolist()
    missing = np.isnan(column)
    return [
        None if gone else value if texts is None else texts[int(value)]
        for value, gone in zip(column, missing, strict=True)
    ]


def write_table(path: Path, table: Table) -> None:
    """Ids and features as Parquet, NaN as null."""
    columns = {
        name: pa.array(cells_of(table, place), from_pandas=True) for place, name in enumerate(table.columns)
    }
    pq.write_table(pa.table({"id": list(table.ids), **columns}), path)


@dataclass
class Folders:
    """A folder a party, with keys, settings, data and shares; the active party's name comes first."""

    root: Path
    names: tuple[str, ...]
    ports: dict[str, int] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        root: Path,
        models: Sequence[Model],
        *,
        active: str = "",
        limits: str = UNLIMITED,
        passive: str = UNLIMITED,
        dial_in: bool = False,
        masks: bool = False,
        save: Callable[[Any, Path], None] = save_share,
    ) -> Folders:
        """`active`: more settings; `limits`, `passive`: each side's [limits]; `dial_in`: who listens."""
        names = tuple(models[0].tables)
        here = cls(root, names)
        keys = {name: CurveKeys.generate() for name in names}
        first = names[0]
        here.ports = {name: free_port() for name in names}
        for name in names:
            folder = root / name
            (folder / "shares").mkdir(parents=True)
            keys[name].save(folder / "keys")
            AllowList({other: keys[other].public for other in names if other != name}).save(
                folder / "allowed.toml"
            )
            write_table(folder / "data.parquet", models[0].tables[name])
            for number, model in enumerate(models):
                save(model.shares[name], folder / "shares" / str(number))
            address = f"tcp://127.0.0.1:{here.ports[first if dial_in else name]}"
            listens = (name == first) == dial_in
            party = '[party]\nkeys = "keys"\n' + (f'listen = "{address}"\n' if listens else "")
            peers = ""
            for other in names[1:] if name == first else (first,):
                peers += f"[peers.{other}]\n"
                if not listens:
                    peers += f'dial = "tcp://127.0.0.1:{here.ports[other if not dial_in else first]}"\n'
            others = [other for other in names[1:] if other != name]
            own = limits + active if name == first else passive
            if masks and name != first:
                own += f"mask_with = {json.dumps(others)}\n"
            data = '[data]\nfile = "data.parquet"\n'
            (folder / "serve.toml").write_text(f"{party}{peers}{data}[limits]\n{own}")
        return here

    def callers(self, **rights: Any) -> dict[str, str]:
        """Tokens of `shop-front`, who may do nothing special, and of `boss`, who may all."""
        callers = Callers({})
        tokens = {
            "front": callers.add("front"),
            "boss": callers.add("boss", features=True, admin=True),
        }
        callers.save(self.root / self.names[0] / "tokens.toml")
        return tokens

    @contextlib.contextmanager
    def passive(self, name: str) -> Iterator[PassiveServer]:
        """A passive party inside this process."""
        folder = self.root / name
        settings = load_settings(folder / "serve.toml")
        server = PassiveServer(
            name,
            load_passive(settings, [folder / "shares"], None),
            settings.contact(),
            job=settings.job,
            rate=settings.limits.rate(active=False),
            daily=settings.limits.daily(active=False),
            audit=AuditLog(folder / "audit.jsonl"),
        )
        try:
            yield server
        finally:
            server.close()

    @contextlib.contextmanager
    def active(self) -> Iterator[Active]:
        """The active party inside this process, with a client for it."""
        name = self.names[0]
        folder = self.root / name
        tokens = self.callers()
        settings = load_settings(folder / "serve.toml")
        audit = AuditLog(settings.path(settings.audit.file), settings.audit.ids)
        peers = Peers(name, settings.contact(), list(settings.peers), job=settings.job)
        try:
            service = ActiveService(
                settings, lambda: load_active(settings, [folder / "shares"], None), peers, audit
            )
            with served(Web(service)) as port:
                yield Active(service, port, tokens, folder)
        finally:
            peers.close()
            audit.close()


@contextlib.contextmanager
def served(web: Web) -> Iterator[int]:
    """The application under uvicorn in a thread; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as door:
        door.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(web.app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, args=([door],))
        thread.start()
        try:
            until(lambda: server.started)
            yield door.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@dataclass(frozen=True)
class Response:
    """What came back."""

    status_code: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        """The body."""
        return json.loads(self.text)


def request(
    port: int, method: str, path: str, token: str | None, body: bytes | None, **headers: str
) -> Response:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        given = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, path, body, given | headers)
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, named, answer.read().decode())
    finally:
        connection.close()


@dataclass
class Active:
    """The active party under test."""

    service: ActiveService
    port: int
    tokens: dict[str, str]
    folder: Path

    def ready(self) -> Active:
        """Once all passive parties are there."""
        until(lambda: all(self.service.peers.there(name) for name in self.service.peers.names))
        return self

    def post(
        self,
        path: str = "/predict",
        body: Any = None,
        *,
        caller: str | None = "front",
        raw: bytes | None = None,
    ) -> Response:
        """A response to a request of a caller; `raw` in place of JSON."""
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        return request(self.port, "POST", path, self.tokens[caller] if caller else None, data)

    def get(self, path: str, *, caller: str | None = "front") -> Response:
        """A response to a request of a caller."""
        return request(self.port, "GET", path, self.tokens[caller] if caller else None, None)

    def audit(self, event: str) -> list[dict[str, Any]]:
        """The lines of the audit log about an event."""
        lines = map(json.loads, (self.folder / "audit.jsonl").read_text().splitlines())
        return [line for line in lines if line["event"] == event]


def scores_of(response: Response) -> np.ndarray:
    """The scores of a response that must be good."""
    assert response.status_code == 200, response.text
    return np.array([row["score"] for row in response.json()["scores"]])
