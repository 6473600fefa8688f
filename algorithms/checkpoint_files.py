"""The files of a checkpoint: arrays, and a manifest that is written last and names their hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.built import built
from hecore.algorithms.channel import Watermark
from hecore.algorithms.errors import CheckpointError
from hecore.algorithms.private_files import sync_folder, write_whole

FORMAT, VERSION = "hecore checkpoint", 4

Arrays: TypeAlias = dict[str, NDArray[Any]]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checkpoint's JSON file; `seal` is SHA-256 of the rest, `binding` hashes of what must not change.

    `over`: this is the result of the run, nothing follows. `meeting`: what its draws depend on.
    """

    format: str = FORMAT
    version: int = VERSION
    job: str
    party: str
    peers: list[str]
    task: str
    step: int
    over: bool
    binding: dict[str, str]
    meeting: str
    files: dict[str, str]
    watermarks: list[Watermark]
    state: msgspec.Raw
    seal: str = ""


class _Head(msgspec.Struct):
    format: str
    version: int


class Damaged(Exception):
    """This checkpoint cannot be read; an older one may."""


def manifests(folder: Path) -> list[Path]:
    """The manifests of a run, oldest first. Their names are the steps."""
    return sorted(folder.glob("*.json"))


def write(folder: Path, manifest: Manifest, arrays: Arrays) -> None:
    """Make both files durable, with hashes and seal put in."""
    from safetensors.numpy import save

    name = f"{manifest.step:012d}"
    data = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
    digest = hashlib.sha256(data).hexdigest()
    whole = msgspec.structs.replace(manifest, files={f"{name}.safetensors": digest})
    write_whole(folder / f"{name}.safetensors", data)
    write_whole(folder / f"{name}.json", msgspec.json.encode(_sealed(whole)))


def read_manifest(path: Path) -> Manifest:
    """The manifest alone. Raises Damaged, and CheckpointError for another version."""
    try:
        data = path.read_bytes()
        head = msgspec.json.decode(data, type=built(_Head))
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
        raise Damaged(f"{path}: no manifest ({error})") from None
    if (head.format, head.version) != (FORMAT, VERSION):
        raise CheckpointError(f"{path} is {head.format!r} version {head.version}, not {FORMAT!r} {VERSION}")
    try:
        manifest = msgspec.json.decode(data, type=built(Manifest))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"{path}: no manifest ({error})") from None
    if _sealed(manifest).seal != manifest.seal:
        raise Damaged(f"{path}: its seal does not fit")
    return manifest


def read_arrays(path: Path, manifest: Manifest) -> Arrays:
    """What belongs to the manifest at `path`. Raises Damaged."""
    from safetensors.numpy import load

    arrays: Arrays = {}
    for name, digest in manifest.files.items():
        try:
            content = path.with_name(name).read_bytes()
        except OSError as error:
            raise Damaged(f"{path}: {name} is missing ({error.strerror})") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise Damaged(f"{path}: {name} does not have the hash that the manifest names")
        arrays |= load(content)
    return arrays


def set_aside(path: Path) -> None:
    """Take a damaged checkpoint out of the way, and leave it to be looked at."""
    path.rename(path.with_suffix(".json.damaged"))
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a checkpoint; first what makes it one."""
    path.unlink()
    path.with_suffix(".safetensors").unlink(missing_ok=True)


def _sealed(manifest: Manifest) -> Manifest:
    plain = msgspec.json.encode(msgspec.structs.replace(manifest, seal=""), order="sorted")
    return msgspec.structs.replace(manifest, seal=hashlib.sha256(plain).hexdigest())
