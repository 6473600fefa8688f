"""What a party of the demo keeps from one start to the next, and how it meets the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hecore import PrivateKey
from hecore.algorithms.channel import AllowList, CurveKeys, FolderStore, ZmqChannel, ZmqOptions, dial, listen
from hecore.algorithms.demo.results import Pipe
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.job.home import own_key
from hecore.algorithms.party import ACTIVE, PASSIVE

#: The name of the job that both parties' channels work on.
JOB = "hecore demo"
#: Both processes run on one machine: a party that is not there within seconds will not come.
OPTIONS = ZmqOptions(connect_timeout=30.0, grace=30.0)


class Home:
    """A party's folder, mode 0700: keys, the other's public key, and the store."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.store = FolderStore(folder / "store", folder.name, JOB)
        #: A party that starts again knows its peer; nobody waits to introduce them.
        self.again = (folder / "introduced").exists()

    def curve(self) -> CurveKeys:
        """The CURVE key pair, made at the first start."""
        path = self.folder / "curve.key"
        if not path.exists():
            CurveKeys.generate().save(path)
        return CurveKeys.load(path)

    def paillier(self, bits: int) -> PrivateKey:
        """The Paillier key pair, made at the first start; its passphrase lies beside it, readable for us."""
        key = own_key(self.folder, bits)
        if not isinstance(key, PrivateKey):
            raise ProtocolError(f"{self.folder / 'paillier.key'} holds no private key")
        return key

    def report(self, pipe: Pipe, what: str, value: object) -> None:
        """Tell the parent, the first time."""
        if not self.again:
            pipe.send((what, value))


def meet(role: str, home: Home, pipe: Pipe) -> ZmqChannel:
    """The channel to the other party, whose key and address come from the parent at the first start."""
    other = PASSIVE if role == ACTIVE else ACTIVE
    keys, address, allowed = home.curve(), home.folder / "endpoint", home.folder / "allowed.toml"
    home.report(pipe, "key", keys.public)
    if not home.again:
        AllowList({other: pipe.recv()}).save(allowed)
    endpoint = address.read_text() if home.again else "tcp://127.0.0.1:0"
    options: dict[str, Any] = {"job": JOB, "options": OPTIONS, "store": home.store}
    if role == ACTIVE:
        channel = listen(role, other, endpoint, keys, AllowList.load(allowed), **options)
        endpoint = channel.endpoint
        home.report(pipe, "endpoint", endpoint)
    else:
        endpoint = endpoint if home.again else pipe.recv()
        channel = dial(role, other, endpoint, keys, AllowList.load(allowed), **options)
    if not home.again:
        address.write_text(endpoint)
        (home.folder / "introduced").touch()
    return channel
