"""Parties of one job in processes of their own, killed at random places and started again, each alone."""

from __future__ import annotations

import contextlib
import hashlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from hecore.algorithms.channel import CurveKeys
from hecore.algorithms.free_port import free_port

from .channel.pairs import Life
from .child import Settings


class Company:
    """The first of `names` listens, the others dial it."""

    def __init__(self, folder: Path, script: Path, names: tuple[str, ...], tasks: Mapping[str, Any]) -> None:
        keys = {name: CurveKeys.generate() for name in names}
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.folder, self.script, self.names = folder, script, names
        self.lives: dict[str, list[Life]] = {name: [] for name in names}
        hub, *spokes = names
        self.settings = {
            name: Settings(
                me=name,
                peers=spokes if name == hub else [hub],
                folder=str(folder / name),
                endpoint=endpoint,
                listens=name == hub,
                public=keys[name].public,
                secret=keys[name].secret,
                allowed={party: pair.public for party, pair in keys.items()},
                task=tasks[name],
            )
            for name in names
        }
        for name in names:  # masks are the same in every company, so that its results are
            store = folder / name / "store"
            store.mkdir(parents=True, mode=0o700)
            (store / "secret").write_bytes(hashlib.sha256(name.encode()).digest())

    def start(self, name: str, doom: int = 0) -> None:
        path = self.folder / name / "settings.json"
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(self.settings[name], doom=doom)))
        process = subprocess.Popen(
            [sys.executable, str(self.script), str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lives[name].append(Life(process))

    def run(self, seconds: float, kills: int = 0, seed: int = 0, places: int = 200) -> dict[str, list[str]]:
        """Until all have ended well; what each has said in its last life."""
        rng = random.Random(seed)
        self.kills = 0

        def start(name: str) -> None:
            self.start(name, rng.randint(1, places) if self.kills < kills else 0)

        for name in self.names:
            start(name)
        limit = time.monotonic() + seconds
        running = set(self.names)
        while running:
            assert time.monotonic() < limit, {name: lives[-1].lines for name, lives in self.lives.items()}
            for name in list(running):
                life = self.lives[name][-1]
                if life.process.poll() is None:
                    continue
                code = life.end(60)
                assert code in (0, -9), (name, code, life.lines[-20:])
                if code == 0:
                    running.remove(name)
                else:
                    self.kills += 1
                    start(name)
            time.sleep(0.02)
        return {name: lives[-1].said("result") for name, lives in self.lives.items()}

    def close(self) -> None:
        for lives in self.lives.values():
            for life in lives:
                life.process.kill()
                life.end(60)
                if life.process.stdout is not None:
                    life.process.stdout.close()


@contextlib.contextmanager
def company(
    folder: Path, script: Path, names: tuple[str, ...], tasks: Mapping[str, Any]
) -> Iterator[Company]:
    made = Company(folder, script, names, tasks)
    try:
        yield made
    finally:
        made.close()
