"""The records of joint trees. Ciphertexts and bits travel as payload frames.

A is the active party (label, key), P a passive one; [x] is x encrypted under A's key.

    Round      A → P   number of the tree, outputs, the model's name, which rows are drawn (bits)
    Block      A → P   [g, h] of a block of the drawn rows: P reads nothing
    Grow       A → P   which rows of a node go left (bits), for splits that P did not make; candidates of
                       largest gain, in P's order, of nodes that P is to split; nodes to sum up
    Sums       P → A   [Σ g, Σ h] left of each candidate split of these nodes, in a secret order, packed and
                       re-randomised; which candidates are open: A reads the sums
    Routes     P → A   which rows of these nodes go left (bits)
    Directions P → A   for prediction: which rows go left at each of P's nodes (bits)

THREAT_MODEL.md has the table with what can be inferred.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from hecore.algorithms.gbdt.config import MAX_OUTPUTS
from hecore.algorithms.messages import Message

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]
Node = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
#: A tree has so many nodes at most.
MAX_NODES = 1 << 22
Nodes = Annotated[tuple[Node, ...], msgspec.Meta(max_length=MAX_NODES)]


class Split(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A node and its two new children."""

    node: Node
    left: Node
    right: Node


class ChosenSplit(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A split that the receiver's candidates are best for; any of them, the owner takes its first."""

    node: Node
    left: Node
    right: Node
    candidates: Annotated[tuple[Count, ...], msgspec.Meta(min_length=1)]


class Round(Message, frozen=True, kw_only=True, tag="gbdt.round"):
    """A tree begins, or training ends. Payload: the drawn rows as bits, or nothing where all are drawn.

    kept   at the end: how many trees the model keeps, local ones included; None while training goes on
    model  the name that all shares of the model have; it follows from the handshakes of all parties
    """

    tree: Count
    outputs: Annotated[int, msgspec.Meta(ge=1, le=MAX_OUTPUTS)] = 1
    blocks: Count = 0
    kept: Count | None = None
    model: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?\Z")] = ""


class Block(Message, frozen=True, kw_only=True, tag="gbdt.block"):
    """Encrypted gradients of consecutive drawn rows; payload: one batch."""

    tree: Count
    block: Count


class Grow(Message, frozen=True, kw_only=True, tag="gbdt.grow"):
    """One step of a tree, in this order: splits that others made, splits to make, nodes to sum up.

    Payload: the bits of `splits`. Routes answer `choose`, Sums answer `build`, each unless empty. A Grow with
    neither ends the tree.
    """

    tree: Count
    splits: Annotated[tuple[Split, ...], msgspec.Meta(max_length=MAX_NODES)] = ()
    choose: Annotated[tuple[ChosenSplit, ...], msgspec.Meta(max_length=MAX_NODES)] = ()
    build: Nodes = ()


class Sums(Message, frozen=True, kw_only=True, tag="gbdt.sums"):
    """Left sums of candidates. Payload: open candidates as bits, and one batch (empty if none is open).

    For each node of the Grow two masks of `candidates` bits: what is open in it, and in its sibling. The
    batch holds the sums of the node for candidates open in either, node after node.
    """

    tree: Count
    nodes: Nodes
    candidates: Count


class Routes(Message, frozen=True, kw_only=True, tag="gbdt.routes"):
    """Bits of the rows of each chosen node, in the order asked for; payload: one frame."""

    tree: Count


class Directions(Message, frozen=True, kw_only=True, tag="gbdt.directions"):
    """Bits of `rows` rows at each of the sender's `nodes` nodes, node after node; payload: one frame."""

    start: Count
    rows: Count
    nodes: Count


class PredictTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What parties must agree on to predict: shares of one training."""

    model: str
