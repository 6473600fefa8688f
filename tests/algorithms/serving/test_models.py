"""Models side by side: switch, roll back, reload without a restart; the pages that tell about it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.gbdt.model import save_share
from hecore.algorithms.serving.process import load_passive, load_shares
from hecore.algorithms.serving.settings import load_settings

from ..patience import until
from .conftest import Folders, Model, request, scores_of, write_table

EXACT = "[scores]\nprobability_step = 0\n"
FIRST, SECOND = "ab" * 16, "cd" * 16


@pytest.fixture
def folders(model: Model, second_model: Model, tmp_path: Path) -> Folders:
    return Folders.make(tmp_path, [model, second_model], active=EXACT)


def test_switch_and_roll_back(model: Model, second_model: Model, folders: Folders) -> None:
    body = {"ids": ["id1", "id2"]}
    with folders.passive("shop"):
        with folders.active() as bank:
            bank.ready()
            models = bank.get("/models").json()["models"]
            assert [(one["model"], one["active"], one["ready"]) for one in models] == [
                (FIRST, True, True),
                (SECOND, False, True),
            ]
            assert bank.post(body=body).json()["model"] == FIRST
            np.testing.assert_allclose(scores_of(bank.post(body=body)), model.scores[1:3], atol=1e-12)
            named = bank.post(body=body | {"model": "cdcd"})
            np.testing.assert_allclose(scores_of(named), second_model.scores[1:3], atol=1e-12)
            early = bank.post("/admin/rollback", body={}, caller="boss")
            assert (early.status_code, early.json()["error"]["code"]) == (409, "no_earlier_model")
            switched = bank.post("/admin/activate", body={"model": "cdcd"}, caller="boss")
            assert switched.json() == {"active": SECOND}
            np.testing.assert_allclose(scores_of(bank.post(body=body)), second_model.scores[1:3], atol=1e-12)
            assert bank.audit("admin")[-1]["action"] == "activate"
        with folders.active() as bank:  # a restart does not forget it
            bank.ready()
            assert bank.post(body=body).json()["model"] == SECOND
            assert bank.post("/admin/rollback", caller="boss").json() == {"active": FIRST}
            assert bank.post(body=body).json()["model"] == FIRST


def test_a_model_that_a_passive_party_lacks_is_not_activated(folders: Folders) -> None:
    (folders.root / "shop" / "shares" / "1").unlink()
    with folders.passive("shop"), folders.active() as bank:
        bank.ready()
        refused = bank.post("/admin/activate", body={"model": SECOND}, caller="boss")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_not_ready")
        assert "shop" in refused.json()["error"]["message"]
        assert bank.post("/admin/activate", body={"model": "9999"}, caller="boss").status_code == 404
        assert bank.post(body={"ids": ["id0"]}).json()["model"] == FIRST
        asked = bank.post(body={"ids": ["id0"], "model": SECOND})
        assert (asked.status_code, asked.json()["error"]["code"]) == (503, "peer_down")


def test_callers_do_not_hear_of_models_that_they_cannot_ask_for(
    folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    """Shop serves a model that bank does not: no answer names it, and bank's own log does."""
    caplog.set_level("INFO")
    (folders.root / "bank" / "shares" / "0").unlink()
    (folders.root / "shop" / "shares" / "1").unlink()
    with folders.passive("shop"), folders.active() as bank:
        bank.ready()
        (entry,) = bank.get("/models").json()["models"]
        assert (entry["model"], entry["ready"]) == (SECOND, False)
        assert entry["why_not"] == f"shop is there without model {SECOND}"
        answers = [
            bank.get("/models"),
            bank.get("/metrics"),
            bank.post("/admin/activate", body={"model": SECOND}, caller="boss"),
            bank.post(body={"ids": ["id0"]}),
            bank.post(body={"ids": ["id0"], "model": FIRST[:4]}),
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 409, 503, 404]
        assert all(FIRST not in answer.text for answer in answers)
    assert f"shop is there, with model {FIRST}" in caplog.messages


def test_reload_brings_models_features_and_callers(
    model: Model, second_model: Model, folders: Folders, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    second = folders.root / "bank" / "shares" / "1"
    second.unlink()
    with folders.passive("shop") as shop, folders.active() as bank:
        bank.ready()
        assert len(bank.get("/models").json()["models"]) == 1
        save_share(second_model.shares["bank"], second)
        data = bank.folder / "data.parquet"
        write_table(data, model.tables["bank"].take(np.arange(1, 300)))  # without id0
        assert bank.post("/admin/reload", caller="boss").json() == {"active": FIRST}
        assert len(bank.get("/models").json()["models"]) == 2
        assert bank.post(body={"ids": ["id0"]}).status_code == 404
        # The passive side reads again as well, and tells it at once.
        (folders.root / "shop" / "shares" / "1").unlink()
        settings = load_settings(folders.root / "shop" / "serve.toml")
        shop.replace(load_passive(settings, [folders.root / "shop" / "shares"], None))
        until(lambda: not bank.get("/models").json()["models"][1]["ready"])
        assert f"shop serves model {FIRST} from now on" in caplog.messages
        # A token is gone with the next reload.
        (bank.folder / "tokens.toml").write_text("format = 1\n")
        (bank.folder / "tokens.toml").chmod(0o600)
        assert bank.post("/admin/reload", caller="boss").status_code == 200
        assert bank.post(body={"ids": ["id1"]}).status_code == 401


def test_a_reload_that_fails_changes_nothing(folders: Folders) -> None:
    with folders.passive("shop"), folders.active() as bank:
        bank.ready()
        (bank.folder / "shares" / "0").write_bytes(b"no share at all")
        failed = bank.post("/admin/reload", caller="boss")
        assert (failed.status_code, failed.json()["error"]["code"]) == (409, "reload_failed")
        assert "is no safetensors file" in failed.json()["error"]["message"]
        assert bank.post(body={"ids": ["id0"]}).json()["model"] == FIRST


def test_the_active_model_was_removed(folders: Folders) -> None:
    with folders.passive("shop"), folders.active() as bank:
        bank.ready()
        (bank.folder / "shares" / "0").unlink()
        assert bank.post("/admin/reload", caller="boss").json() == {"active": SECOND}
        assert bank.post(body={"ids": ["id0"]}).json()["model"] == SECOND


def test_shares_that_do_not_belong_together(folders: Folders, tmp_path: Path) -> None:
    bank, shop = (folders.root / name / "shares" for name in ("bank", "shop"))
    with pytest.raises(ConfigurationError, match="two sides"):
        load_shares([bank / "0", shop / "1"])
    shutil.copy(bank / "0", tmp_path / "copy")
    with pytest.raises(ConfigurationError, match="another share was given"):
        load_shares([bank, tmp_path / "copy"])
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigurationError, match="no share"):
        load_shares([tmp_path / "none"])


def test_metrics(folders: Folders) -> None:
    with folders.passive("shop"), folders.active() as bank:
        bank.ready()
        bank.post(body={"ids": ["id0", "id1"]})
        bank.post(body={"ids": ["nobody"]})
        text = bank.get("/metrics").text
    assert 'hecore_requests_total{path="/predict",status="200"} 1.0' in text
    assert 'hecore_rows_total{complete="true"} 2.0' in text
    assert 'hecore_refused_total{code="unknown_id"} 1.0' in text
    assert 'hecore_peer_up{peer="shop"} 1.0' in text
    assert f'hecore_model_active{{model="{FIRST}"}} 1.0' in text
    assert 'hecore_batch_rows_bucket{le="2.0"} 1.0' in text
    assert "hecore_request_seconds_count 1.0" in text
    assert "front" not in text  # of a caller, others learn nothing


def test_the_interface_is_described(folders: Folders) -> None:
    """Every route is in the document; the page needs nothing from elsewhere."""
    with folders.active() as bank:
        document: dict[str, Any] = bank.get("/openapi.json", caller=None).json()
        page = request(bank.port, "GET", "/docs", None, None)
        admin = {f"/admin/{name}" for name in ("activate", "rollback", "reload")}
        assert set(document["paths"]) == admin | {"/predict", "/models", "/metrics", "/healthz"}
        for path, methods in document["paths"].items():
            for method in methods:
                answer = request(bank.port, method.upper(), path, None, None)
                assert answer.status_code in (401, 503), path
    references = json.dumps(document).split('"#/components/schemas/')[1:]
    assert {text.partition('"')[0] for text in references} <= set(document["components"]["schemas"])
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text.replace("http://127.0.0.1", "")
    assert "<script" not in page.text
    assert "POST /predict" in page.text
