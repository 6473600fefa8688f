"""What is wrong with a request is said with a clear status, logged, and harms nobody else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from hecore.algorithms.checks import counted

from ..patience import until
from .conftest import UNLIMITED, Active, Folders, Model


@pytest.fixture(scope="module")
def bank(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Active]:
    active = "[http]\nmax_rows = 50\nmax_body = 5000\n"
    folders = Folders.make(tmp_path_factory.mktemp("bad"), [model], active=active)
    with folders.passive("shop"), folders.active() as bank:
        yield bank.ready()


ROW = {"id": "id0", "features": {"bank_x": 1.0, "bank_kind": 2}}
BAD: list[tuple[Any, int, str, str]] = [
    (b"{", 400, "malformed_json", "truncated"),
    (b"", 400, "malformed_json", "truncated"),
    (b"\xff\xfe", 400, "malformed_json", ""),
    (b"[" * 4000, 422, "wrong_body", "object"),
    (b'{"ids": ["id0"]} x', 400, "malformed_json", ""),
    (["id0"], 422, "wrong_body", "object"),
    ({"ids": "id0"}, 422, "wrong_body", "ids"),
    ({"ids": [7]}, 422, "wrong_body", "ids[0]"),
    ({"ids": [""]}, 422, "wrong_body", "ids[0]"),
    ({"ids": ["x" * 1025]}, 422, "wrong_body", "ids[0]"),
    ({"id": ["id0"]}, 422, "wrong_body", "unknown field `id`"),
    ({}, 422, "ids_or_rows", ""),
    ({"ids": ["id0"], "rows": [ROW]}, 422, "ids_or_rows", ""),
    ({"ids": []}, 422, "no_rows", ""),
    ({"ids": ["id1"] * 51}, 413, "too_many_rows", "at most 50"),
    ({"ids": ["y" * 1000] * 6}, 413, "body_too_large", "5000"),
    ({"ids": ["id0", "nobody"]}, 404, "unknown_id", "1 id is not known to all parties"),
    ({"rows": [ROW | {"id": "nobody"}]}, 404, "unknown_id", "not known to all parties"),
    ({"rows": [{"id": "id0", "features": {"bank_x": 1}}]}, 422, "wrong_columns", "bank_kind"),
    ({"rows": [{"id": "id0", "features": ROW["features"] | {"age": 1}}]}, 422, "wrong_columns", "age"),
    ({"rows": [{"id": "id0", "features": {"bank_x": "1", "bank_kind": 2}}]}, 422, "wrong_columns", "bank_x"),
    ({"rows": [{"id": "id0"}]}, 422, "wrong_body", "features"),
    ({"ids": ["id0"], "model": "0123"}, 404, "unknown_model", "0 models"),
    ({"ids": ["id0"], "model": "../x"}, 422, "wrong_body", "model"),
]


@pytest.mark.parametrize(("body", "status", "code", "said"), BAD)
def test_bad_body(bank: Active, body: Any, status: int, code: str, said: str) -> None:
    before = len(bank.audit("refused"))
    response = bank.post(raw=body) if isinstance(body, bytes) else bank.post(body=body, caller="boss")
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    assert said in error["message"] + str(error.get("ids", ""))
    (line,) = bank.audit("refused")[before:]
    assert line["code"] == code
    assert line["caller"] == ("front" if isinstance(body, bytes) else "boss")


def test_an_unknown_id_is_named_to_the_caller_and_hashed_in_the_log(bank: Active) -> None:
    response = bank.post(body={"ids": ["id0", "nobody", "nowhere"]})
    assert response.json()["error"]["ids"] == ["nobody", "nowhere"]
    text = (bank.folder / "audit.jsonl").read_text()
    assert "nobody" not in text
    assert bank.service.audit.shown("nobody") in text


def test_unknown_ids_are_told_alike_whoever_lacks_them(model: Model, tmp_path: Path) -> None:
    """All in one list, so that no caller learns which party has whom."""
    folders = Folders.make(tmp_path, [model])
    for party, gone in (("bank", "id1"), ("shop", "id2")):
        file = tmp_path / party / "data.parquet"
        table = pq.read_table(file)
        pq.write_table(table.filter(pc.not_equal(table["id"], gone)), file)
    with folders.active() as bank:
        with folders.passive("shop"):
            bank.ready()
            for ids in (["id1"], ["id2"], ["nobody"], ["id0", "nobody", "id2", "id1"], ["id2", "id3", "id1"]):
                response = bank.post(body={"ids": ids})
                assert response.status_code == 404, response.text
                named = [text for text in ids if text not in ("id0", "id3")]
                verb = "is" if len(named) == 1 else "are"
                told = f"{counted(len(named), 'id')} {verb} not known to all parties"
                assert response.json() == {"error": {"code": "unknown_id", "message": told, "ids": named}}
            assert bank.post(body={"ids": ["id0", "id3"]}).status_code == 200
        until(lambda: not bank.service.peers.there("shop"))
        # What this party alone does not know is not told while the other cannot be asked.
        for ids in (["id0", "id1"], ["id1"], ["id0"]):
            response = bank.post(body={"ids": ids})
            assert (response.status_code, response.json()["error"]["code"]) == (503, "peer_down")


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer ", "Bearer wrong", "Basic {token}", "{token}"])
def test_unauthorised_callers(bank: Active, header: str | None) -> None:
    from .conftest import request

    headers = {} if header is None else {"Authorization": header.format(token=bank.tokens["front"])}
    before = len(bank.audit("refused"))
    response = request(bank.port, "POST", "/predict", None, b'{"ids": ["id0"]}', **headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthorised"
    assert response.headers["www-authenticate"] == "Bearer"
    logged = bank.audit("refused")[before:]
    assert [line["code"] for line in logged] in (["unauthorised"], [])  # at most five a second are logged
    assert "score" not in response.text


def test_strangers_do_not_fill_the_disk(bank: Active) -> None:
    time.sleep(1.1)  # others were refused within this second
    before, began = len(bank.audit("refused")), time.monotonic()
    for _ in range(40):
        assert bank.get("/metrics", caller=None).status_code == 401
    seconds = time.monotonic() - began
    assert 1 <= len(bank.audit("refused")) - before <= 5 * (seconds + 2)


def test_a_caller_without_the_right_sends_no_features(bank: Active) -> None:
    response = bank.post(body={"rows": [ROW]})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "features_not_allowed")


@pytest.mark.parametrize("path", ["/admin/activate", "/admin/rollback", "/admin/reload"])
def test_only_admins_administer(bank: Active, path: str) -> None:
    response = bank.post(path, body={})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "not_admin")
    assert bank.audit("admin refused")[-1]["caller"] == "front"


def test_paths_and_methods_that_there_are_not(bank: Active) -> None:
    assert bank.get("/predict").status_code == 405
    assert bank.get("/nothing").status_code == 404
    assert json.loads(bank.get("/nothing").text)["error"]["code"] == "no_such_path"


def test_a_good_request_still_works_and_is_logged_without_features(bank: Active) -> None:
    row = {"id": "id3", "features": {"bank_x": 0.123456, "bank_kind": 2}}
    assert bank.post(body={"rows": [row]}, caller="boss").status_code == 200
    line = bank.audit("scored")[-1]
    assert (line["caller"], line["rows"], line["own_features"]) == ("boss", 1, True)
    assert line["ids"] == [bank.service.audit.shown("id3")]
    assert "0.123456" not in (bank.folder / "audit.jsonl").read_text()


def test_limits_of_a_caller(model: Model, tmp_path: Any) -> None:
    limits = "rows_per_second = 0.001\nburst = 10\nper_id_per_day = 3\n"
    folders = Folders.make(tmp_path, [model], limits=limits)
    with folders.passive("shop"), folders.active() as bank:
        bank.ready()
        for _ in range(3):
            assert bank.post(body={"ids": ["id0"]}).status_code == 200
        spent = bank.post(body={"ids": ["id0", "id1"]})
        assert (spent.status_code, spent.json()["error"]["code"]) == (429, "id_limit")
        assert spent.json()["error"]["ids"] == ["id0"]
        assert bank.post(body={"ids": ["id0"]}, caller="boss").status_code == 200  # each caller has its own
        fast = bank.post(body={"ids": [f"id{row}" for row in range(2, 9)]})
        assert (fast.status_code, fast.json()["error"]["code"]) == (429, "rate_limit")
        assert int(fast.headers["retry-after"]) > 100
        never = bank.post(body={"ids": [f"id{row}" for row in range(11)]})
        assert (never.status_code, never.json()["error"]["code"]) == (413, "too_many_rows")


def test_limits_of_the_passive_party(model: Model, tmp_path: Any) -> None:
    """They hold whatever the active party allows its callers, and are in the passive party's own log."""
    passive = "rows_per_second = 0.001\nburst = 12\nper_id_per_day = 2\n"
    folders = Folders.make(tmp_path, [model], limits=UNLIMITED, passive=passive)
    with folders.passive("shop"), folders.active() as bank:
        bank.ready()
        for _ in range(2):
            assert bank.post(body={"ids": ["id0"]}).status_code == 200
        spent = bank.post(body={"ids": ["id1", "id0"]})
        assert (spent.status_code, spent.json()["error"]["code"]) == (429, "id_limit")
        assert spent.json()["error"]["ids"] == ["id0"]
        fast = bank.post(body={"ids": [f"id{row}" for row in range(20, 40)]})
        assert (fast.status_code, fast.json()["error"]["code"]) == (429, "peer_rate_limit")
        assert "retry-after" in fast.headers
    lines = [json.loads(line) for line in (tmp_path / "shop" / "audit.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["answered", "answered", "answered", "declined"]
    assert [line.get("known") for line in lines] == [1, 1, 1, None]
    assert lines[0]["peer"] == "bank"


def test_a_log_that_cannot_be_written_ends_answers(
    model: Model, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = Folders.make(tmp_path, [model])
    with folders.passive("shop") as shop, folders.active() as bank:
        bank.ready()

        def full(*_: object, **__: object) -> None:
            raise OSError("no space left")

        with monkeypatch.context() as patch:
            patch.setattr(bank.service.audit, "write", full)
            response = bank.post(body={"ids": ["id0"]})
            assert (response.status_code, response.json()["error"]["code"]) == (503, "audit_failed")
        with monkeypatch.context() as patch:
            patch.setattr(shop.audit, "write", full)
            response = bank.post(body={"ids": ["id0"]})
            assert (response.status_code, response.json()["error"]["code"]) == (503, "peer_down")
        assert bank.post(body={"ids": ["id0"]}).status_code == 200
