"""Where compiled kernels are kept between processes.

numba looks at the file of a cached function only, and would go on using old machine code after a change of
the instructions it is made of. So the folder's name is a hash of all sources here, the vector form, the
processor compiled for and numba's version: any change is a new folder. (numba tells processors apart as well,
but two processes that compile at once may give two processors' code one file name.) $NUMBA_CACHE_DIR is
honoured as the parent; else $XDG_CACHE_HOME, else ~/.cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import njit
from numba.core import config as numba_config
from numba.core.registry import cpu_target

from .forms import chosen

config: Any = numba_config  # its settings are made at run time
logger = logging.getLogger("hecore.kernels")


def _folder() -> Path:
    processor = cpu_target.target_context.codegen().magic_tuple()
    made_by = f"{chosen().name} {processor} {numba.__version__} {llvmlite.__version__}"
    digest = hashlib.sha256(made_by.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    parent = config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(parent) / "hecore" / f"kernels-{digest.hexdigest()[:16]}"


def _prepare() -> Path | None:
    """The folder; None, with a warning, where it cannot be written."""
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} is not writable")
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        logger.warning("kernels are compiled in every process (some seconds each): %s", error)
        return None
    return folder


#: The folder, or None.
FOLDER = _prepare()


def jit(kernel: Callable[..., Any]) -> Any:
    """A function compiled for this process's form, that runs without the GIL, kept in FOLDER.

    numba takes its cache's place when a function is decorated; its own setting is as before afterwards.
    """
    before = config.CACHE_DIR
    config.CACHE_DIR = str(FOLDER or before)
    try:
        return njit(nogil=True, cache=FOLDER is not None, boundscheck=False, error_model="numpy")(kernel)
    finally:
        config.CACHE_DIR = before
