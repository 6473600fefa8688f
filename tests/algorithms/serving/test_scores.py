"""What callers get is what joint batch prediction and the exported XGBoost model give."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

import hecore
from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.gbdt import VerticalGBDTClassifier
from hecore.algorithms.gbdt.export import export_joint

from .conftest import Folders, Model, make_model, scores_of, values_of

EXACT = "[scores]\nprobability_step = 0\ndigits = 0\n"


def batch_prediction(model: Model) -> np.ndarray:
    """The scores of the batch protocol, over a loopback channel."""
    ends = loopback_pair(*model.tables)
    keys = [hecore.generate_key(512, insecure_test_key=True) for _ in ends]

    def predict(place: int) -> Any:
        name = list(model.tables)[place]
        estimator = VerticalGBDTClassifier(ends[place], model.shares[name].config, key=keys[place])
        estimator.share = model.shares[name]
        return estimator.predict_proba(model.tables[name])

    with ThreadPoolExecutor(2) as pool:
        scores, _ = pool.map(predict, range(2))
    return np.asarray(scores[:, 1])


def test_equal_to_batch_prediction_and_to_the_exported_model(model: Model, tmp_path: Path) -> None:
    active, passive = model.shares.values()
    path = tmp_path / "joint.json"
    path.write_bytes(export_joint(active, [passive]))
    booster = xgboost.Booster(model_file=path)
    kinds = ["q", "c", "q", "c"]
    # The exported model numbers the texts of a category as its bins do.
    values = np.column_stack([values_of(model.shares[name], table) for name, table in model.tables.items()])
    exported = booster.predict(
        xgboost.DMatrix(values, feature_names=booster.feature_names, feature_types=kinds)
    )
    ids = list(model.tables["bank"].ids)
    folders = Folders.make(tmp_path, [model], active=EXACT)
    with folders.passive("shop"), folders.active() as bank:
        got = scores_of(bank.ready().post(body={"ids": ids}))
    np.testing.assert_allclose(got, batch_prediction(model), rtol=0, atol=1e-12)
    np.testing.assert_allclose(got, exported, rtol=0, atol=1e-6)


@pytest.mark.parametrize("label", ["classes", "number"])
def test_several_outputs_and_three_parties_where_passive_ones_dial(label: str, tmp_path: Path) -> None:
    model = make_model(("bank", "shop", "clinic"), label=label)
    folders = Folders.make(tmp_path, [model], active=EXACT, dial_in=True)
    with folders.passive("shop"), folders.passive("clinic"), folders.active() as bank:
        got = scores_of(bank.ready().post(body={"ids": [f"id{row}" for row in range(40)]}))
    np.testing.assert_allclose(got, model.scores[:40], rtol=0, atol=1e-12)


def test_features_that_the_caller_sends(model: Model, tmp_path: Path) -> None:
    folders = Folders.make(tmp_path, [model], active=EXACT)
    own = model.tables["bank"].values[:20]
    rows = [
        {"id": f"id{row}", "features": {"bank_x": None if np.isnan(x) else x, "bank_kind": kind}}
        for row, (x, kind) in enumerate(own)
    ]
    with folders.passive("shop"), folders.active() as bank:
        bank.ready()
        got = scores_of(bank.post(body={"rows": rows}, caller="boss"))
        # What counts is what was sent, not what this party's data has of that id.
        other = [{"id": "id0", "features": {"bank_x": 9.0, "bank_kind": 2}}]
        changed = scores_of(bank.post(body={"rows": other}, caller="boss"))
    np.testing.assert_allclose(got, model.scores[:20], rtol=0, atol=1e-12)
    bank, shop = (model.tables[name].take(np.array([0])) for name in ("bank", "shop"))
    expected = model.central.predict([replace(bank, values=np.array([[9.0, 2.0]])), shop])
    np.testing.assert_allclose(changed, expected, rtol=0, atol=1e-12)


def test_scores_are_rounded_by_default(model: Model, tmp_path: Path) -> None:
    folders = Folders.make(tmp_path, [model])
    ids = [f"id{row}" for row in range(100)]
    with folders.passive("shop"), folders.active() as bank:
        got = scores_of(bank.ready().post(body={"ids": ids}))
    assert np.array_equal(got, np.round(model.scores[:100], 3))
    assert not np.allclose(got, model.scores[:100], rtol=0, atol=1e-6)


def test_other_predictions_are_rounded_to_digits(tmp_path: Path) -> None:
    model = make_model(label="number")
    folders = Folders.make(tmp_path, [model])
    with folders.passive("shop"), folders.active() as bank:
        got = scores_of(bank.ready().post(body={"ids": [f"id{row}" for row in range(100)]}))
    expected = [float(f"{score:.2e}") for score in model.scores[:100]]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_requests_at_the_same_time_become_one_question(model: Model, tmp_path: Path) -> None:
    """Each caller gets its own rows, an unknown id harms its own request only."""
    folders = Folders.make(tmp_path, [model], active=EXACT + "[batch]\nwait_ms = 50\n")
    with folders.passive("shop") as shop, folders.active() as bank:
        bank.ready()
        counted = []
        answer = shop.answer
        shop.answer = lambda peer, question: (counted.append(question.rows), answer(peer, question))[1]  # type: ignore[method-assign]

        async def all_at_once() -> list[Any]:
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(20) as pool:
                bodies = [{"ids": [f"id{row}", f"id{row + 1}"]} for row in range(20)]
                bodies[7] = {"ids": ["id7", "nobody"]}
                jobs = [loop.run_in_executor(pool, lambda body=body: bank.post(body=body)) for body in bodies]
                return await asyncio.gather(*jobs)

        responses = asyncio.run(all_at_once())
    for row, response in enumerate(responses):
        if row == 7:
            assert response.status_code == 404
            continue
        np.testing.assert_allclose(scores_of(response), model.scores[row : row + 2], rtol=0, atol=1e-12)
    assert sum(counted) == 39  # of the request with an unknown id the other one as well
    assert len(counted) < 15
