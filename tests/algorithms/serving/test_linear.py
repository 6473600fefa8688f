"""Linear models: equal to joint batch prediction; what passive parties send is rounded and masked."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hecore
from hecore.algorithms.channel import AllowList, CurveKeys, loopback_pair
from hecore.algorithms.data import Table
from hecore.algorithms.errors import AuthenticationError, ProtocolError
from hecore.algorithms.lr import LinearConfig, VerticalLogisticRegression
from hecore.algorithms.lr.objectives import Objective
from hecore.algorithms.lr.share import FORMAT, VERSION, ActiveSide, ModelRecord, save_share
from hecore.algorithms.serving import messages as msg
from hecore.algorithms.serving.masks import Masks
from hecore.algorithms.serving.parts import LinearPart, make_part, make_whole

from .conftest import Folders, scores_of

EXACT = "[scores]\nprobability_step = 0\ndigits = 0\n"
ROWS = 120


def make_linear(
    names: Sequence[str], objective: str = "binary:logistic", outputs: int = 1
) -> tuple[dict[str, ModelRecord], dict[str, Table]]:
    """Shares with random weights over two columns a party, and the parties' tables."""
    rng = np.random.default_rng(3)
    records, tables = {}, {}
    for place, name in enumerate(names):
        active = None
        if place == 0:
            kind = Objective(name=objective, outputs=outputs, mean=2.0, scale=1.5)  # type: ignore[arg-type]
            active = ActiveSide(objective=kind, intercept=rng.normal(size=outputs).tolist(), metrics=[])
        records[name] = ModelRecord(
            format=FORMAT,
            version=VERSION,
            model="ef" * 16,
            party=name,
            config=LinearConfig(objective=objective),  # type: ignore[arg-type]
            outputs=outputs,
            columns=[f"{name}_a", f"{name}_b"],
            weights=rng.normal(size=(2, outputs)).tolist(),
            mean=[1.0, 2.0],
            scale=[3.0, 0.5],
            loss=[],
            active=active,
        )
        ids = [f"id{row}" for row in range(ROWS)]
        label = np.zeros(ROWS) if place == 0 else None
        tables[name] = Table(name, ids, records[name].columns, rng.normal(size=(ROWS, 2)) * 2 + 1, label)
    return records, tables


def logits(records: dict[str, ModelRecord], tables: dict[str, Table], without: str = "") -> np.ndarray:
    """In the clear."""
    total = np.zeros((ROWS, next(iter(records.values())).outputs))
    for name, record in records.items():
        if record.active is not None:
            total += record.active.intercept
        if name != without:
            x = (tables[name].values - record.mean) / np.array(record.scale)
            total += x @ np.array(record.weights)
    return total


class Linear:
    """What `Folders.make` takes of a model."""

    def __init__(self, records: dict[str, ModelRecord], tables: dict[str, Table]) -> None:
        self.shares, self.tables = records, tables


@pytest.fixture
def folders(tmp_path: Path) -> Any:
    def make(records: Any, tables: Any, **options: Any) -> Folders:
        return Folders.make(tmp_path, [Linear(records, tables)], save=save_share, **options)  # type: ignore[list-item]

    return make


def test_equal_to_joint_batch_prediction(folders: Any) -> None:
    records, tables = make_linear(("bank", "shop"))
    ends = loopback_pair("bank", "shop")

    def predict(place: int) -> Any:
        name = ("bank", "shop")[place]
        key = hecore.generate_key(512, insecure_test_key=True)
        estimator = VerticalLogisticRegression(ends[place], records[name].config, key=key)
        estimator._record = records[name]
        return estimator.predict_proba(tables[name])

    with ThreadPoolExecutor(2) as pool:
        batch, _ = pool.map(predict, range(2))
    made = folders(records, tables, active=EXACT)
    with made.passive("shop"), made.active() as bank:
        got = scores_of(bank.ready().post(body={"ids": list(tables["bank"].ids)}))
    np.testing.assert_allclose(got, batch[:, 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("objective", "outputs"),
    [("binary:logistic", 1), ("multi:logistic", 3), ("reg:squarederror", 1), ("count:poisson", 1)],
)
def test_three_parties_mask_and_the_sum_is_right(folders: Any, objective: str, outputs: int) -> None:
    records, tables = make_linear(("bank", "shop", "clinic"), objective, outputs)
    made = folders(records, tables, active=EXACT, masks=True)
    with made.passive("shop") as shop, made.passive("clinic"), made.active() as bank:
        sent: list[np.ndarray] = []
        answer = shop.answer

        def seen(peer: str, question: msg.Question) -> Any:
            got = answer(peer, question)
            sent.append(np.frombuffer(got.payload[1], "<u8").view("<i8") / 2.0**16)
            return got

        shop.answer = seen  # type: ignore[method-assign]
        bank.ready()
        got = scores_of(bank.post(body={"ids": list(tables["bank"].ids)}))
    predicted = records["bank"].active.objective.predict(logits(records, tables))  # type: ignore[union-attr]
    expected = predicted[:, 1] if objective == "binary:logistic" else predicted
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    # What shop sent is uniform modulo 2^64: nearly no number of it is as small as a partial sum.
    assert (np.abs(sent[0]) < 2.0**30).mean() < 0.05


def test_without_the_passive_party_its_columns_count_as_their_means(folders: Any) -> None:
    records, tables = make_linear(("bank", "shop"))
    made = folders(records, tables, active=EXACT.rstrip() + '\nwhen_down = "active-only"\n')
    with made.active() as bank:
        response = bank.post(body={"ids": ["id0", "id1"]})
    assert response.json()["complete"] is False
    assert response.json()["missing"] == ["shop"]
    expected = 1 / (1 + np.exp(-logits(records, tables, without="shop")[:2, 0]))
    np.testing.assert_allclose(scores_of(response), expected, rtol=0, atol=1e-12)


def test_partial_sums_are_rounded_as_configured() -> None:
    records, tables = make_linear(("bank", "shop"))
    for bits in (4, 16):
        part = make_part(records["shop"], bits, None)
        question = msg.question(bytes(16), 1, "ef" * 16, ["x"] * ROWS)
        sums = np.frombuffer(part.answer(question, np.arange(ROWS), tables["shop"].values), "<i8") / 2.0**bits
        exact = logits(records, tables)[:, 0] - logits(records, tables, without="shop")[:, 0]
        assert 2.0 ** -(bits + 2) < np.abs(sums - exact).max() <= 2.0 ** -(bits + 1)


def test_a_row_that_lacks_a_value_harms_no_other(folders: Any) -> None:
    records, tables = make_linear(("bank", "shop"))
    values = tables["shop"].values.copy()
    values[3, 1] = np.nan
    values[4, 0] = 1e300
    tables["shop"] = replace(tables["shop"], values=values, missing=True)
    made = folders(records, tables, active="[batch]\nwait_ms = 200\n" + EXACT)
    with made.passive("shop"), made.active() as bank:
        bank.ready()
        with ThreadPoolExecutor(3) as pool:
            bodies = [{"ids": ["id1", "id3"]}, {"ids": ["id0", "id2"]}, {"ids": ["id4"]}]
            bad, good, large = pool.map(lambda body: bank.post(body=body), bodies)
        row = {"id": "id0", "features": {"bank_a": None, "bank_b": 1.0}}
        given = bank.post(body={"rows": [row]}, caller="boss")
        row = {"id": "id0", "features": {"bank_a": 1e308, "bank_b": -1e308}}
        infinite = bank.post(body={"rows": [row]}, caller="boss")
    for response in (bad, large, given):
        assert (response.status_code, response.json()["error"]["code"]) == (422, "missing_value")
    assert bad.json()["error"]["ids"] == ["id3"]
    assert infinite.status_code in (200, 422)  # a probability of 0 or 1, or no number
    expected = 1 / (1 + np.exp(-logits(records, tables)[[0, 2], 0]))
    np.testing.assert_allclose(scores_of(good), expected, rtol=0, atol=1e-4)


# --- masks --------------------------------------------------------------------------------------------


@pytest.fixture
def three() -> dict[str, Masks]:
    names = ("shop", "clinic", "telco")
    keys = {name: CurveKeys.generate() for name in names}
    allowed = AllowList({name: keys[name].public for name in names})
    return {
        name: Masks(name, keys[name], allowed, [other for other in names if other != name]) for name in names
    }


def test_masks_cancel_in_the_sum_of_all_and_in_no_other(three: dict[str, Masks]) -> None:
    question = msg.question(bytes(16), 7, "ef" * 16, ["a", "b", "c"])
    masks = {name: one.of(question, 2) for name, one in three.items()}
    total = masks["shop"] + masks["clinic"] + masks["telco"]
    assert total.shape == (3, 2)
    assert not total.any()
    assert (masks["shop"] + masks["clinic"]).all()


@pytest.mark.parametrize("change", ["process", "number", "model", "ids"])
def test_a_mask_serves_one_question(three: dict[str, Masks], change: str) -> None:
    fields: dict[str, Any] = {"process": bytes(16), "number": 1, "model": "ef" * 16, "ids": ["a", "b"]}
    other = {"process": b"x" * 16, "number": 2, "model": "ee" * 16, "ids": ["a", "c"]}
    first = three["shop"].of(msg.question(*fields.values()), 1)
    second = three["shop"].of(msg.question(*(fields | {change: other[change]}).values()), 1)
    assert not np.isin(first, second).any()


def test_a_party_with_two_keys_or_none_is_refused() -> None:
    keys, first, second = (CurveKeys.generate() for _ in range(3))
    with pytest.raises(AuthenticationError, match="exactly one"):
        Masks("shop", keys, AllowList({"clinic": [first.public, second.public]}), ["clinic"])
    with pytest.raises(AuthenticationError, match="not on the allow-list"):
        Masks("shop", keys, AllowList({}), ["clinic"])


def test_parties_that_do_not_mask_alike_are_refused() -> None:
    """One of three masks, one does not, or with another key: the sum would be nonsense."""
    records, _ = make_linear(("bank", "shop", "clinic"))
    keys = {name: CurveKeys.generate() for name in ("shop", "clinic", "other")}
    allowed = AllowList({name: pair.public for name, pair in keys.items()})
    whole = make_whole(records["bank"])

    def offers(shop: Masks | None, clinic: Masks | None) -> dict[str, msg.Offer]:
        parts = {"shop": shop, "clinic": clinic}
        return {name: LinearPart(records[name], 16, masks).offer() for name, masks in parts.items()}

    shop = Masks("shop", keys["shop"], allowed, ["clinic"])
    clinic = Masks("clinic", keys["clinic"], allowed, ["shop"])
    whole.check(offers(shop, clinic))
    whole.check(offers(None, None))
    with pytest.raises(ProtocolError, match="do not mask with one secret"):
        whole.check(offers(shop, None))
    with pytest.raises(ProtocolError, match="do not mask with one secret"):
        whole.check(offers(shop, Masks("clinic", keys["other"], allowed, ["shop"])))
    with pytest.raises(ProtocolError, match="no line to"):
        whole.check({"shop": offers(shop, clinic)["shop"]})
