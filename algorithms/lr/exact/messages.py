"""The records of mode `exact`, and who can read what. Ciphertexts travel as payload frames.

A is the active party (label, key), P a passive one; [x] is x encrypted under A's key; W = U + V are the
weights of P's columns, U at P and V at A. All but the first are records of `lr.messages`.

    SourceStart      A → P       whether the layer starts at random weights
    Seeds            P → A → P'  the seed of masks that cancel, under the key of P': A reads nothing
    EncryptedShare   A → P       forward, evaluation: [V].  backward: [dL/dZ] of a batch.  P reads nothing
    MaskedProduct    P → A       forward, evaluation: [X·W + s]: A reads X·W, of several parties the sum
                                 backward: [Xᵀ·dL/dZ + r]: A reads gradient + mask; with Adam the gradient
    EpochEnd         A → P       whether this is the best epoch so far, and whether it is the last
    FinalShare       A → P       V, cut to output_bits
"""

from __future__ import annotations

from hecore.algorithms.messages import Message


class SourceStart(Message, frozen=True, kw_only=True, tag="lr.exact.start"):
    """How a source layer begins: at random weights, or at zero."""

    random: bool
