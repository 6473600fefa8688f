"""What a tree of another size would take, from counted operations and measured rates.

For n drawn rows, F passive columns of B bins, depth d, K outputs and slots of s bits (r = ⌊(|n| − 1) / 2Ks⌋
rows of sums a ciphertext), with smaller children built and k columns a joint table:

    encryptions     n                                     one ciphertext a row while 2·K·s < |n|
    products        Σ over levels of (rows + 2·B^k per node) / k · F,  rows = n at the root, n/2 below
    prefix sums     nodes · F · B
    packing         nodes · F · (B − 1) · 2·K·s squarings
    replies         nodes · F · (B − 1) / r               re-randomised once, decrypted once
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

import hecore
from hecore.evaluator import rerandomize
from hecore.kernels.histogram import MAX_JOINT_BINS

#: Elements that rates are measured on.
MEASURED = 4096


@dataclass(frozen=True)
class Rates:
    """Operations a second on one machine, 2048-bit key, all its cores."""

    name: str
    encrypt: float
    product: float
    squaring: float
    rerandomize: float
    decrypt: float


#: The project's targets for one H200, not measurements: the CUDA backend has not run on a GPU yet.
H200_TARGETS = Rates("one H200 (targets)", 4.5e6, 3.0e8, 3.5e8, 1.2e6, 5.5e5)


@dataclass(frozen=True)
class Size:
    """A tree: rows, passive columns, bins, depth, outputs."""

    rows: int
    columns: int
    bins: int
    depth: int
    outputs: int


class Estimate(msgspec.Struct, frozen=True):
    """Seconds of each kind of work; they can overlap between machines, here they are added."""

    encrypt: float
    histogram: float
    pack: float
    reply: float

    @property
    def total(self) -> float:
        """All of them one after another."""
        return self.encrypt + self.histogram + self.pack + self.reply


def estimate(size: Size, rates: Rates, *, key_bits: int = 2048, gradient_bits: int = 24) -> Estimate:
    """Seconds of one multi-output tree of a size at these rates."""
    slot = gradient_bits + 1 + (size.rows - 1).bit_length()
    fit = (key_bits - 1) // slot
    ciphertexts = -(-2 * size.outputs // fit)
    width = min(2 * size.outputs, fit)
    sums = 2 ** max(0, size.depth - 1)  # built nodes: the root, and the smaller child of every split below
    products = _level(size, size.rows, 1)
    for level in range(1, size.depth):
        products += _level(size, size.rows / 2, 2 ** (level - 1))
    candidates = sums * size.columns * (size.bins - 1)
    replies = candidates * ciphertexts / max(1, fit // width)
    return Estimate(
        encrypt=size.rows * ciphertexts / rates.encrypt,
        histogram=(products + sums * size.columns * size.bins) * ciphertexts / rates.product,
        pack=candidates * width * slot / rates.squaring if ciphertexts == 1 and fit >= 2 * width else 0.0,
        reply=replies / rates.rerandomize + replies / rates.decrypt,
    )


def _level(size: Size, rows: float, nodes: int) -> float:
    """Products for the histograms of so many rows in so many nodes, at the best joint width."""
    widths = [k for k in range(1, 19) if size.bins**k <= MAX_JOINT_BINS] or [1]
    return min(
        (rows + (2 * size.bins**k * nodes if k > 1 else 0)) / k * size.columns
        for k in widths
        if k <= max(1, size.columns)
    )


def measured_rates(backend: str | None = None) -> Rates:
    """The rates of this machine now, from operations of a few thousand elements."""
    key = hecore.generate_key()
    layout = hecore.SlotLayout.for_key(key.public, 24, terms=1 << 20)
    encryptor, decryptor = hecore.Encryptor(key, backend), hecore.Decryptor(key, backend)
    values = np.zeros((MEASURED, 2), dtype=np.int64)
    batch = encryptor.encrypt(values, layout=layout)
    codes = np.random.default_rng(0).integers(0, 64, (MEASURED, 32))
    offsets = np.arange(33, dtype=np.int64) * MEASURED
    gathered = np.argsort(codes, axis=0, kind="stable").T.ravel().astype(np.int64)
    work = batch.backend
    return Rates(
        f"this machine ({work.name})",
        encrypt=MEASURED / _seconds(lambda: encryptor.encrypt(values, layout=layout)),
        product=gathered.size / _seconds(lambda: work.segment_product(batch.residues, gathered, offsets)),
        squaring=64 * MEASURED / _seconds(lambda: work.mod_pow(batch.residues, 1 << 64)),
        rerandomize=MEASURED / _seconds(lambda: rerandomize(batch)),
        decrypt=512 / _seconds(lambda: decryptor.decrypt(batch[:512])),
    )


def _seconds(work: Callable[[], object]) -> float:
    """The median of three calls after a warm-up."""
    times = []
    for _ in range(4):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return sorted(times[1:])[1]
