"""Sizes of blocks, messages and joint tables from the data and the memory that is free; all are logged."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.kernels.histogram import MAX_JOINT_BINS
from hecore.keys import PublicKey

logger = logging.getLogger("hecore.gbdt")

#: Rows of a block while a tree begins: enough to fill vectors and joint bins, few enough to overlap
#: encryption, transport and accumulation.
LEAST_BLOCK, MOST_BLOCK = 4096, 1 << 16
BLOCKS_WANTED = 8
#: Times its wire size that a ciphertext takes while it is worked on: the backend's form, and a copy.
IN_MEMORY = 3
#: Sums of one message: 2^17 of them take some 4 MB, and 128 MB while they are unpacked at a passive party.
SUMS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Plan:
    """What the planner chose.

    block_rows     rows encrypted and sent at a time
    nodes_at_once  nodes summed up in one message
    """

    block_rows: int
    nodes_at_once: int


def most_candidates(config: GBDTConfig, columns: int) -> int:
    """The most candidates that so many columns can have: each bin with missing values on either side."""
    return 2 * config.max_bin * columns


def plan(config: GBDTConfig, public: PublicKey, rows: int, candidates: int) -> Plan:
    """Block size from the rows, nodes a message from the most candidates that a party can have."""
    ciphertext = public.square.nbytes
    block = config.block_rows or min(MOST_BLOCK, max(LEAST_BLOCK, -(-rows // BLOCKS_WANTED)))
    memory = free_memory()
    while config.block_rows == 0 and block > LEAST_BLOCK and 8 * block * ciphertext > memory:
        block //= 2
    nodes = max(1, min(SUMS_AT_ONCE, memory // (16 * ciphertext)) // max(1, candidates))
    logger.info(
        "%d rows, up to %d candidate splits a node: blocks of %d rows, %d nodes a message (%.1f GB free)",
        rows,
        candidates,
        block,
        nodes,
        memory / 1e9,
    )
    return Plan(block, nodes)


def table_bins(public: PublicKey, bins: int) -> int:
    """The largest joint table that a passive party may fill: a tenth of its free memory at most.

    How many columns share a table, of those that fit, is chosen for each histogram by the products it costs
    (kernels/histogram).
    """
    memory = free_memory()
    fits = max(bins, min(MAX_JOINT_BINS, memory // (10 * IN_MEMORY * public.square.nbytes)))
    joint = max(width for width in range(1, 19) if width == 1 or bins**width <= fits)
    logger.info(
        "joint tables of up to %d bins: up to %d columns of %d bins share one (%.1f GB free)",
        fits,
        joint,
        bins,
        memory / 1e9,
    )
    return fits


def free_memory() -> int:
    """Bytes that this machine can give now."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
