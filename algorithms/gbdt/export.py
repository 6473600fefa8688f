"""All shares of a model as one XGBoost model in JSON, whose Booster predicts the same.

Whoever does this has every party's share: parties that hand theirs over consent to show their columns' names,
thresholds and categories. Columns are named PARTY.COLUMN, the active party's first.

Trees with a value for each class become one tree a class of the same shape. In XGBoost matching categories go
to the right, here to the left: a category split changes its children's places. float32 rounds each leaf and
the start value: margins agree to about 10⁻⁷ a tree.

XGBoost takes categories by number. Where a party's table had texts, the attribute `hecore.categories` of the
Booster, a JSON object, has for each such column the number of each text; all other texts and missing values
must be given as NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.gbdt.binning import ColumnBins
from hecore.algorithms.gbdt.growth import LEAF
from hecore.algorithms.gbdt.model import ActiveShare, PassiveShare
from hecore.algorithms.gbdt.objectives import transform
from hecore.algorithms.gbdt.trees import Forest

#: The version of the format that is written; XGBoost reads it and later ones do.
XGBOOST_VERSION = [2, 0, 0]
NO_PARENT = 2147483647
OBJECTIVES: dict[str, dict[str, Any]] = {
    "binary:logistic": {"reg_loss_param": {"scale_pos_weight": "1"}},
    "reg:squarederror": {"reg_loss_param": {"scale_pos_weight": "1"}},
    "count:poisson": {"poisson_regression_param": {"max_delta_step": "0.7"}},
    "multi:softprob": {},
}


def export_joint(active: ActiveShare, passive: Sequence[PassiveShare]) -> bytes:
    """The JSON of an XGBoost model, for `xgboost.Booster().load_model(bytearray(...))`.

    passive   the shares of all `active.peers`, in any order

    Raises ProtocolError where a share is missing, of another model or does not fit the forest, and for a
    custom objective, which XGBoost does not know by name.
    """
    if active.objective not in OBJECTIVES:
        raise ProtocolError(f"XGBoost has no objective {active.objective!r}: a custom one cannot be exported")
    shares: list[ActiveShare | PassiveShare] = [active, *_in_order(active, passive)]
    names = [f"{share.party}.{column}" for share in shares for column in share.columns]
    kinds = ["c" if bins.categorical else "q" for share in shares for bins in share.bins]
    trees: list[dict[str, Any]] = []
    info: list[int] = []
    splits = _split_fields(active.forest, shares)
    for tree in range(active.forest.trees):
        output = int(active.forest.output[tree])
        for target in range(active.outputs) if output < 0 else [output]:
            column = target if output < 0 else 0
            trees.append(_tree(active.forest, tree, column, splits, len(trees), len(names)))
            info.append(target)
    model = {
        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
        "iteration_indptr": _rounds(active, len(trees)),
        "tree_info": info,
        "trees": trees,
    }
    classes = str(active.outputs) if active.outputs > 1 else "0"
    objective: dict[str, Any] = {"name": active.objective, **OBJECTIVES[active.objective]}
    if active.objective == "multi:softprob":
        objective["softmax_multiclass_param"] = {"num_class": classes}
    document = {
        "learner": {
            "attributes": _texts(shares),
            "feature_names": names,
            "feature_types": kinds,
            "gradient_booster": {"model": model, "name": "gbtree"},
            "learner_model_param": {
                "base_score": repr(_base_score(active)),
                "boost_from_average": "1",
                "num_class": classes,
                "num_feature": str(len(names)),
                "num_target": "1",
            },
            "objective": objective,
        },
        "version": XGBOOST_VERSION,
    }
    return msgspec.json.encode(document)


def _texts(shares: Sequence[ActiveShare | PassiveShare]) -> dict[str, str]:
    """The numbers of categories that had texts."""
    numbers = {
        f"{share.party}.{column}": dict(zip(bins.texts, map(int, bins.edges), strict=True))
        for share in shares
        for column, bins in zip(share.columns, share.bins, strict=True)
        if bins.texts is not None
    }
    return {"hecore.categories": msgspec.json.encode(numbers).decode()} if numbers else {}


def export_shares(shares: Sequence[ActiveShare | PassiveShare]) -> bytes:
    """`export_joint` of all parties' shares, in any order. ProtocolError unless one is the active party's."""
    active = [share for share in shares if isinstance(share, ActiveShare)]
    if not active:
        given = ", ".join(share.party for share in shares)
        raise ProtocolError(f"the share of the active party is missing: given are those of {given}")
    if len(active) > 1:
        given = ", ".join(share.party for share in active)
        raise ProtocolError(f"{len(active)} shares are of an active party, of {given}: a model has one")
    return export_joint(active[0], [share for share in shares if isinstance(share, PassiveShare)])


def _in_order(active: ActiveShare, passive: Sequence[PassiveShare]) -> list[PassiveShare]:
    by_party = {share.party: share for share in passive}
    missing = [peer for peer in active.peers if peer not in by_party]
    if missing:
        parties = ", ".join([active.party, *active.peers])
        raise ProtocolError(
            f"the share of {' and of '.join(missing)} is missing: the model is of {parties}, all are needed"
        )
    if len(passive) != len(active.peers):
        raise ProtocolError(
            f"the model was trained with {', '.join(active.peers)}, but the shares given are of"
            f" {', '.join(share.party for share in passive)}"
        )
    for number, peer in enumerate(active.peers, start=1):
        share = by_party[peer]
        if share.model != active.model:
            raise ProtocolError(f"the share of {peer} is of another model than that of {active.party}")
        if len(share.splits) != active.forest.splits_of(number).size:
            raise ProtocolError(f"the share of {peer} has other splits than the trees of {active.party}")
    return [by_party[peer] for peer in active.peers]


def _rounds(active: ActiveShare, trees: int) -> list[int]:
    """The first tree of each round, and the number of all."""
    return list(range(0, trees + 1, active.outputs))


def _base_score(active: ActiveShare) -> float:
    """The start value as a prediction, as XGBoost keeps it."""
    if active.outputs > 1:  # a margin there
        return active.start
    return float(transform(active.objective, np.array([[active.start]]))[0])


def _split_fields(
    forest: Forest, shares: Sequence[ActiveShare | PassiveShare]
) -> dict[int, tuple[int, ColumnBins, int, bool]]:
    """(joint column, its bins, bin, missing left) of each split, by its place in the forest."""
    fields, offset = {}, 0
    for owner, share in enumerate(shares):
        for number, place in enumerate(forest.splits_of(owner)):
            column = int(share.splits.column[number])
            fields[int(place)] = (
                offset + column,
                share.bins[column],
                int(share.splits.bin[number]),
                bool(share.splits.missing_left[number]),
            )
        offset += len(share.columns)
    return fields


def _tree(
    forest: Forest,
    tree: int,
    output: int,
    splits: dict[int, tuple[int, ColumnBins, int, bool]],
    number: int,
    features: int,
) -> dict[str, Any]:
    base, stop = int(forest.start[tree]), int(forest.start[tree + 1])
    nodes = range(base, stop)
    values = forest.value[base:stop, output].astype(np.float32)
    left, right = forest.left[base:stop].tolist(), forest.right[base:stop].tolist()
    parents = [NO_PARENT] * len(nodes)
    conditions = [float(value) for value in values]
    indices, default_left, types = ([0] * len(nodes) for _ in range(3))
    categories: dict[int, list[int]] = {}
    for node, place in enumerate(nodes):
        if forest.owner[place] == LEAF:
            continue
        column, bins, at, missing_left = splits[place]
        indices[node], default_left[node] = column, int(missing_left)
        if not bins.categorical:
            conditions[node] = bins.edges[at]
        elif at > 0:  # one category to the left: here it must go to the right, all else to the left
            left[node], right[node] = right[node], left[node]
            categories[node] = [int(bins.edges[at - 1])]
        else:  # the rest to the left: all categories with a bin of their own to the right
            categories[node] = [int(edge) for edge in bins.edges]
        if bins.categorical:
            types[node], default_left[node], conditions[node] = 1, 1, 0.0
        for child in (left[node], right[node]):
            parents[child] = node
    sizes = [len(values) for values in categories.values()]
    return {
        "base_weights": [float(value) for value in values],
        "categories": [value for values in categories.values() for value in values],
        "categories_nodes": list(categories),
        "categories_segments": [sum(sizes[:place]) for place in range(len(sizes))],
        "categories_sizes": sizes,
        "default_left": default_left,
        "id": number,
        "left_children": left,
        "loss_changes": [float(np.float32(gain)) for gain in forest.gain[base:stop]],
        "parents": parents,
        "right_children": right,
        "split_conditions": conditions,
        "split_indices": indices,
        "split_type": types,
        "sum_hessian": [float(np.float32(cover)) for cover in forest.cover[base:stop]],
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(features),
            "num_nodes": str(len(nodes)),
            "size_leaf_vector": "1",
        },
    }
