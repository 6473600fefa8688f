"""`hecore predict`: the scores of a file, in parts that a broken run goes on from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from hecore.algorithms.data import Ids
from hecore.algorithms.errors import ChannelTimeout, ConfigurationError, TableError
from hecore.algorithms.rows_done import RowsDone
from hecore.algorithms.serving import files
from hecore.algorithms.serving import messages as msg
from hecore.algorithms.serving.features import Adapted, SnapshotFeatures
from hecore.algorithms.serving.files import FileScoring, Summary, finish
from hecore.algorithms.serving.parts import make_whole
from hecore.algorithms.serving.peers import Peers
from hecore.algorithms.serving.settings import load_settings

from ..patience import until
from .conftest import UNLIMITED, Folders, Model, make_model


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK", 32)


@pytest.fixture
def folders(model: Model, tmp_path: Path) -> Folders:
    return Folders.make(tmp_path, [model])


@contextmanager
def line_of(folders: Folders) -> Iterator[Peers]:
    settings = load_settings(folders.root / "bank" / "serve.toml")
    peers = Peers("bank", settings.contact(), list(settings.peers), job="serve")
    try:
        yield peers
    finally:
        peers.close()


def scoring(model: Model, peers: Peers, out: Path, ids: Any = None, wait: float = 60.0) -> FileScoring:
    table = model.tables["bank"]
    whole = make_whole(model.shares["bank"])
    wanted = Ids(table.ids if ids is None else ids)
    return FileScoring(
        make_whole(model.shares["bank"]),
        Adapted(SnapshotFeatures(table), whole),
        wanted,
        out,
        peers,
        wait=wait,
    )


def run(folders: Folders, model: Model, out: Path, ids: Any = None) -> Summary:
    with line_of(folders) as peers:
        return scoring(model, peers, out, ids).run(lambda progress: None)


def test_scores_of_all_ids_in_their_order(model: Model, folders: Folders, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(300)
    ids = [f"id{row}" for row in order]
    told: list[RowsDone] = []
    with folders.passive("shop") as shop, line_of(folders) as peers:
        summary = scoring(model, peers, tmp_path / "out.parquet", ids).run(told.append)
        assert not shop.finished
        finish(peers, seconds=0)
        until(lambda: shop.finished)
    assert summary == Summary(300, 0, {})
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["id"].to_pylist() == ids
    np.testing.assert_allclose(table["score"].to_numpy(), model.scores[order], rtol=0, atol=1e-12)
    assert [progress.done for progress in told] == [32 * n for n in range(1, 10)] + [300]
    assert told[-1].remaining == 0
    assert not (tmp_path / "out.parquet.parts").exists()


def test_several_outputs_as_csv(tmp_path: Path) -> None:
    model = make_model(label="classes")
    folders = Folders.make(tmp_path, [model])
    with folders.passive("shop"):
        run(folders, model, tmp_path / "out.csv")
    table = pyarrow.csv.read_csv(tmp_path / "out.csv")
    assert table.column_names == ["id", "score_0", "score_1", "score_2"]
    scores = np.column_stack([table[f"score_{number}"].to_numpy() for number in range(3)])
    np.testing.assert_allclose(scores, model.scores, rtol=0, atol=1e-12)


def test_a_broken_run_goes_on_with_the_first_part_that_is_not_there(
    model: Model, folders: Folders, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"

    def stop(progress: RowsDone) -> None:
        if progress.done >= 128:
            raise KeyboardInterrupt

    with folders.passive("shop") as shop:
        with line_of(folders) as peers, pytest.raises(KeyboardInterrupt):
            scoring(model, peers, out).run(stop)
        assert not out.exists()
        before = shop.answered
        summary = run(folders, model, out)
        assert shop.answered - before == 300 - 128
    assert summary.resumed == 128
    np.testing.assert_allclose(pq.read_table(out)["score"].to_numpy(), model.scores, rtol=0, atol=1e-12)


def test_parts_of_another_run_are_refused(model: Model, folders: Folders, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    with folders.passive("shop"), line_of(folders) as peers:
        with pytest.raises(KeyboardInterrupt):
            scoring(model, peers, out).run(_interrupt)
        with pytest.raises(ConfigurationError, match=r"out\.parquet\.parts holds parts of another"):
            scoring(model, peers, out, [f"id{row}" for row in range(299)]).run(_interrupt)


def _interrupt(progress: RowsDone) -> None:
    raise KeyboardInterrupt


def test_a_passive_party_that_goes_and_comes_back(model: Model, folders: Folders, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    gone, back = threading.Event(), threading.Event()

    def pause(progress: RowsDone) -> None:
        if progress.done == 96:
            gone.set()
            assert back.wait(60)

    with line_of(folders) as peers:
        failed: list[BaseException] = []

        def work() -> None:
            try:
                scoring(model, peers, out).run(pause)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        with folders.passive("shop"):
            thread.start()
            assert gone.wait(60)
        until(lambda: not peers.there("shop"))
        back.set()
        with folders.passive("shop"):
            thread.join(60)
    assert not failed
    np.testing.assert_allclose(pq.read_table(out)["score"].to_numpy(), model.scores, rtol=0, atol=1e-12)


def test_ids_without_a_score_are_told(model: Model, tmp_path: Path) -> None:
    folders = Folders.make(tmp_path, [model], passive=UNLIMITED.replace("1_000_000", "1"))
    shop = model.tables["shop"].take(np.arange(299))  # without id299
    from .conftest import write_table

    write_table(tmp_path / "shop" / "data.parquet", shop)
    with folders.passive("shop"):
        summary = run(folders, model, tmp_path / "first.parquet", ["id0", "nobody", "id299", "id1"])
        assert summary.lacking == {msg.UNKNOWN: (2, ["nobody", "id299"])}
        again = run(folders, model, tmp_path / "second.parquet", ["id0", "id2"])
        assert again.lacking == {msg.SPENT: (1, ["id0"])}
        none = run(folders, model, tmp_path / "third.parquet", ["a", "b"])
        assert none.lacking == {msg.UNKNOWN: (2, ["a", "b"])}
    assert pq.read_table(tmp_path / "third.parquet")["score"].to_pylist() == [None, None]
    scores = pq.read_table(tmp_path / "first.parquet")["score"].to_pylist()
    assert [score is None for score in scores] == [False, True, True, False]
    np.testing.assert_allclose([scores[0], scores[3]], model.scores[:2], rtol=0, atol=1e-12)


def test_a_party_that_serves_another_model_is_told_with_that(
    folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other, said = (
        make_model(model="ef" * 16),
        f"shop is there without model {'ef' * 16}: it serves {'ab' * 16};",
    )
    caplog.set_level("INFO")
    with folders.passive("shop"), line_of(folders) as peers:
        until(lambda: peers.there("shop"))
        assert [entry.levelname for entry in caplog.records if "shop is there" in entry.message] == ["INFO"]
        with pytest.raises(ChannelTimeout, match=said):
            scoring(other, peers, tmp_path / "out.parquet", wait=0.0).run(_interrupt)


def test_a_party_that_never_comes_and_ids_that_cannot_be_scored(
    model: Model, folders: Folders, tmp_path: Path
) -> None:
    with line_of(folders) as peers:
        with pytest.raises(ChannelTimeout, match=r"waited 0\.3 s: shop is not there"):
            scoring(model, peers, tmp_path / "out.parquet", wait=0.3).run(_interrupt)
        with pytest.raises(TableError, match="occurs twice"):
            scoring(model, peers, tmp_path / "out.parquet", ["id0", "id0"])
