"""Joint training on the vertical data sets, held against the centralised figures published with them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from hecore import generate_key
from hecore.algorithms.data import read_csv
from hecore.algorithms.lr import LinearConfig

from .conftest import clear_fit, fit_pair

DATA = Path(__file__).parents[4] / "shared" / "data"

pytestmark = [
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the vertical data sets are not beside this checkout (../shared/data)"
    ),
    pytest.mark.timeout(900),
]


@pytest.mark.parametrize(
    ("name", "centralised", "options"),
    [
        ("breast", 1.00000, {"batch_size": 128, "epochs": 4}),
        ("epsilon_5k", 0.66978, {"batch_size": 512, "epochs": 2}),
        ("default_credit", 0.71489, {"batch_size": 1024, "epochs": 2}),
    ],
)
def test_joint_auc_is_within_one_percent_of_the_centralised_one(name, centralised, options):
    """2048-bit keys; same split and standardised columns as the centralised logistic regression."""
    active = read_csv(DATA / name / "active.csv", label_column="y")
    passive = read_csv(DATA / name / "passive.csv")
    active = replace(active, label=(active.label > 0).astype(np.float64))
    train, test = train_test_split(
        np.arange(len(active)), test_size=0.2, random_state=0, stratify=active.label
    )
    config = LinearConfig(**options)
    started = time.perf_counter()
    pair = fit_pair(
        active.take(train),
        passive.take(train),
        config,
        (generate_key(), generate_key()),
        score=(active.take(test), passive.take(test)),
    )
    seconds = time.perf_counter() - started
    auc = roc_auc_score(active.label[test], pair.scores[:, 1])
    sent = pair.active.channel.traffic.sent.bytes
    print(f"{name}: AUC {auc:.4f} ({centralised} centralised), {seconds:.1f} s, {sent / 1e6:.1f} MB sent")
    assert auc >= 0.99 * centralised
    clear = clear_fit(active.take(train), passive.take(train), config=config)
    delivered = 2.0**-config.output_bits + 5e-5
    np.testing.assert_allclose(pair.active.coef_, clear.active, atol=delivered)
    np.testing.assert_allclose(pair.passive.coef_, clear.passive, atol=delivered)
    np.testing.assert_allclose(pair.active.loss_, clear.loss, atol=1e-5)
