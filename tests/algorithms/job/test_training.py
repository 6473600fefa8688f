"""Curves of linear models: which value belongs to which epoch."""

from __future__ import annotations

from hecore.algorithms.job.training import Measured, curves


def test_rows_that_are_scored_every_other_epoch() -> None:
    result = {"train": [0.5, 0.4, 0.3, 0.2, 0.1], "evaluation": [0.7, 0.8]}
    assert curves(result, "auc", 2) == [Measured(2, "auc", None, 0.7), Measured(4, "auc", None, 0.8)]


def test_metrics_with_names_of_their_own() -> None:
    result = {
        "train": [0.5, 0.4],
        "evaluation": [0.9],
        "evaluation auc": [0.9],
        "train logloss": [0.5, 0.4],
        "evaluation logloss": [0.6],
        "train auc": [0.8, 0.85],
    }
    assert curves(result, "auc", 2) == [
        Measured(1, "auc", 0.8, None),
        Measured(2, "auc", 0.85, 0.9),
        Measured(1, "logloss", 0.5, None),
        Measured(2, "logloss", 0.4, 0.6),
    ]


def test_without_evaluation_rows_there_is_the_loss_alone() -> None:
    assert curves({"train": [0.5]}, "auc", 1) == []
