"""default_credit as two companies would have it: other orders, other gaps, and yet the same model."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from hecore import PrivateKey, generate_key
from hecore.algorithms.channel import AllowList, CurveKeys
from hecore.algorithms.data import read_ids
from hecore.algorithms.errors import AlignmentError
from hecore.algorithms.free_port import free_port
from hecore.algorithms.gbdt.model import SPLIT_TENSORS, ActiveShare, Share, load_share
from hecore.algorithms.job import home
from hecore.algorithms.job.folder import read_record
from hecore.algorithms.job.runner import Outcome

from .firms import Firm, run_all

DATA = Path(__file__).parents[4] / "shared" / "data" / "default_credit"
TREES = '[algorithm]\nname = "gbdt"\nn_estimators = 3\nmax_depth = 3\nmax_bin = 16\n'
SPLIT = '[split]\ntest = 0.2\nkey = "a key of these tests"\n'

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the vertical data sets are not beside this checkout (../shared/data)"
)


@pytest.fixture(autouse=True)
def keys_from_a_pool(key: PrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real keys of 2048 bits, made once: the parties of a job take turns."""
    pool = itertools.cycle([key, generate_key()])
    monkeypatch.setattr(home, "generate_key", lambda bits: next(pool))


def lines(name: str) -> list[str]:
    return (DATA / name).read_text().splitlines()


def firms_of(folder: Path, contents: list[list[str]], more: str = "") -> list[Firm]:
    """A bank and a telephone company with these files, and jobs to train together."""
    firms = [Firm(folder / name, name) for name in ("bank", "telco")]
    keys = [CurveKeys.generate() for _ in firms]
    port = free_port()
    where = [
        f'listen = "tcp://127.0.0.1:{port}"\n[peers.telco]\n',
        f'[peers.bank]\ndial = "tcp://127.0.0.1:{port}"\n',
    ]
    for place, firm in enumerate(firms):
        firm.folder.mkdir(parents=True)
        (firm.folder / "people.csv").write_text("\n".join(contents[place]) + "\n")
        keys[place].save(firm.folder / "keys")
        AllowList({firms[1 - place].name: keys[1 - place].public}).save(firm.folder / "allowed.toml")
        role, label = ("active", 'label = "y"\n') if place == 0 else ("passive", "")
        firm.file.write_text(
            f'job = "credit"\n[party]\nname = "{firm.name}"\nrole = "{role}"\nkeys = "keys"\n{where[place]}'
            f'[data]\nfile = "people.csv"\n{label}{TREES}{SPLIT}[run]\nwait = 60.0\n{more}'
        )
    return firms


def apart(rows: int) -> list[list[str]]:
    """Both files, a fifth of the ids missing in each, others in each; the second one shuffled."""
    random = np.random.default_rng(5)
    contents = []
    for name in ("active.csv", "passive.csv"):
        header, *body = lines(name)
        kept = np.sort(random.permutation(rows)[: rows * 4 // 5])
        if name == "passive.csv":
            kept = random.permutation(kept)
        contents.append([header, *(body[i] for i in kept)])
    return contents


def matched(contents: list[list[str]]) -> list[list[str]]:
    """The rows that both have, in the order of their ids."""
    tables = [{line.split(",")[0]: line for line in body} for _, *body in contents]
    common = sorted(tables[0].keys() & tables[1].keys())
    return [
        [content[0], *(table[i] for i in common)] for content, table in zip(contents, tables, strict=True)
    ]


def learnt(outcomes: list[object]) -> list[Share]:
    assert [type(outcome) for outcome in outcomes] == [Outcome] * 2, outcomes
    return [load_share(outcome.model) for outcome in outcomes]  # type: ignore[attr-defined]


def test_planted_duplicates_end_the_job_on_both_sides(tmp_path: Path) -> None:
    contents = apart(2_000)
    contents[1] += [contents[1][4], contents[1][71], contents[1][71]]
    firms = firms_of(tmp_path, contents)
    for firm, error in zip(firms, run_all(firms), strict=True):
        assert isinstance(error, AlignmentError)
        assert "telco: of 1,603 ids, 3 rows repeat an id of an earlier row" in str(error)
        assert "3 rows repeat" in read_record(firm.run).error


@pytest.mark.parametrize(
    "rows", [1_500, pytest.param(30_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_the_job_learns_what_it_learns_from_files_that_match(tmp_path: Path, rows: int) -> None:
    contents = apart(rows)
    firms = firms_of(tmp_path / "apart", contents)
    got = run_all(firms)
    same = run_all(firms_of(tmp_path / "matched", matched(contents), '[alignment]\nmethod = "none"\n'))
    ids = [set(read_ids(firm.folder / "people.csv")) for firm in firms]
    common = read_record(firms[0].run).rows.common
    assert common == len(ids[0] & ids[1])
    assert 0.6 * rows < common < 0.68 * rows
    for share, other in zip(learnt(got), learnt(same), strict=True):
        assert share.columns == other.columns
        assert share.bins == other.bins
        for name in SPLIT_TENSORS:
            assert np.array_equal(getattr(share.splits, name), getattr(other.splits, name)), name
    trees = [learnt(outcomes)[0] for outcomes in (got, same)]
    assert all(isinstance(share, ActiveShare) for share in trees)
    assert np.array_equal(trees[0].forest.value, trees[1].forest.value)  # type: ignore[attr-defined]
    assert got[0].results == same[0].results  # type: ignore[union-attr]
    assert got[0].results["AUC"] > 0.7  # type: ignore[union-attr]
