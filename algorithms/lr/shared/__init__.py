"""Mode `shared`: nothing per row is ever opened. The parties stand in a star.

A is the active party, P₁ … Pₘ are the passive ones; each of them talks to A only. What is shared by whom:

    w_k        weights of P_k's columns           A and P_k
    w_A        weights of A's columns             A and P₁
    z, e       logits and residuals of a batch    A and the passive parties: their share is one, all know it

Each batch, with [x]_Q for x under Q's key, r for masks, and the steps of `steps`:

    forward    A → P_k   [share of w_k]_A          P_k → A   [X_k·w_k + r_k]_A, r_k of a seed (`seeds`)
               P₁ → A    [share of w_A]_P₁         A → P₁    [X_A·w_A + r]_P₁
               P₁ → A    X_A·w_A + r − s, where there are several passive parties; s of a seed
    link       A → P₁ → A                          only for polynomials and weights (`link`)
    backward   A → P_k   [share of e]_A            P_k → A   [X_kᵀ·e + r]_A
               P₁ → A    [share of e]_P₁           A → P₁    [X_Aᵀ·e + r]_P₁
    update     on the shares of w and of the velocity

    training   what both roles do: bounds, checkpoints, stopping
    active     A's driver
    passive    P_k's driver
"""

from __future__ import annotations

from hecore.algorithms.lr.shared.active import ActiveTraining
from hecore.algorithms.lr.shared.passive import PassiveTraining
from hecore.algorithms.lr.side import Outcome, Side


def train(side: Side) -> Outcome:
    """Train one party's block with the others."""
    return (ActiveTraining if side.is_active else PassiveTraining)(side).run()
