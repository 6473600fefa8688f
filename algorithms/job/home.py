"""A party's state while a job runs: FOLDER/state, mode 0700, removed when the job is done.

    state/store/           messages and checkpoints: see `channel.store`, `checkpoint`
    state/paillier.key     the job's own key pair, unless the job file names one; `passphrase` opens it.
                           A passive party of trees has none
    state/align.json       [data] of the job file as the alignment began, and train.json likewise

The passphrase lies beside the key, so whoever reads the folder has both: it is for this job alone, and needed
to go on after a restart.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from hecore import PrivateKey, PublicKey, generate_key, load_key, save_key
from hecore.algorithms.channel import FolderStore
from hecore.algorithms.errors import ConfigurationError, StoreInUse
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.private_files import make_folder, move, sync_folder, write_whole
from hecore.keyfile import read_passphrase
from hecore.randomness import random_bytes


def own_key(folder: Path, bits: int) -> PrivateKey | PublicKey:
    """The Paillier key in FOLDER/paillier.key, made at the first call; FOLDER/passphrase opens it.

    Both are there whole or not at all.
    """
    path, passphrase = folder / "paillier.key", folder / "passphrase"
    if path.exists():
        return load_key(path, read_passphrase(passphrase))
    write_whole(passphrase, random_bytes(16).hex().encode())
    key = generate_key(bits)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    save_key(key, fresh, read_passphrase(passphrase))
    move(fresh, path)
    return key


STATE = "state"
#: What is being removed: a name of its own, so that a kill in between leaves no half state.
REMOVED = "state.removed"


def in_use(run: Path) -> bool:
    """Whether a process works on the run in a folder: with its state, that is."""
    try:
        descriptor = os.open(run / STATE / "store" / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class Home:
    """The state folder of a job at one party; made when it is first needed."""

    def __init__(self, job: JobFile) -> None:
        self._job = job
        self.folder = job.folder / STATE

    def open_store(self) -> FolderStore:
        """The store of the party's messages. StoreInUse while another process works with it."""
        shutil.rmtree(self.folder.with_name(REMOVED), ignore_errors=True)
        make_folder(self.folder)
        try:
            return FolderStore(self.folder / "store", self._job.party.name, self._job.job)
        except StoreInUse:
            raise self._in_use() from None

    def paillier_key(self) -> PrivateKey:
        """The key of the job file, or the job's own, which is made at the first start."""
        options = self._job.key
        if options.file is not None and options.passphrase_file is not None:
            path = self._job.at(options.file)
            return self._checked(load_key(path, read_passphrase(self._job.at(options.passphrase_file))), path)
        return self._checked(own_key(self.folder, options.bits), self.folder)

    def _checked(self, key: PrivateKey | PublicKey, path: Path) -> PrivateKey:
        if not isinstance(key, PrivateKey):
            raise ConfigurationError(f"{path} holds a public key: key.file is the private one")
        if key.public.n.bit_length() != self._job.key.bits:
            raise ConfigurationError(
                f"{path} holds a key of {key.public.n.bit_length()} bits, key.bits = {self._job.key.bits}"
            )
        return key

    def first_settings(self, step: str, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings with which a step of the run was begun: these, where this is its first start."""
        path = self.folder / f"{step}.json"
        if not path.exists():
            write_whole(path, msgspec.json.encode(settings))
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])

    def in_use(self) -> bool:
        """Whether a process works with the state."""
        return in_use(self._job.folder)

    def remove(self) -> None:
        """Messages, masks and keys go: at once, and what a kill has left of that at the next start."""
        going = self.folder.with_name(REMOVED)
        shutil.rmtree(going, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(going)
            sync_folder(going.parent)
            shutil.rmtree(going, ignore_errors=True)

    def remove_unless_used(self) -> None:
        """As `remove`. StoreInUse while a process works with it."""
        if self.in_use():
            raise self._in_use()
        self.remove()

    def _in_use(self) -> StoreInUse:
        return StoreInUse(f"another process runs the job in {self.folder.parent}")
