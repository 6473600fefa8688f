"""A party's serving process: what it loads, how it starts, reloads on SIGHUP and ends on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hecore.algorithms.checks import counted
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.model import AnyShare, is_active, load_model_share
from hecore.algorithms.serving.active import ActiveService, Loaded
from hecore.algorithms.serving.audit import AuditLog
from hecore.algorithms.serving.callers import Callers
from hecore.algorithms.serving.features import Adapted, Features, Taker, open_features
from hecore.algorithms.serving.masks import Masks
from hecore.algorithms.serving.parts import Whole, make_part, make_whole
from hecore.algorithms.serving.passive import PassiveServer, Served
from hecore.algorithms.serving.peers import Peers
from hecore.algorithms.serving.settings import Settings
from hecore.errors import HecoreError

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)

Say = Callable[[str], None]
#: Seconds for requests under way when the process is asked to end.
GRACE = 10
#: Seconds for which a connection without a request is kept.
KEEP_ALIVE = 75
BACKLOG = 2048


def load_shares(paths: Sequence[Path]) -> dict[str, AnyShare]:
    """The shares in files, and in all files of folders, by model.

    ConfigurationError for none, for two of one model, and for shares of different parties or sides.
    """
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    shares: dict[str, AnyShare] = {}
    for file in files:
        share = load_model_share(file)
        if share.model in shares:
            raise ConfigurationError(f"{file} is of model {share.model}, of which another share was given")
        shares[share.model] = share
    if not shares:
        raise ConfigurationError("no share of a model was given")
    first = next(iter(shares.values()))
    for share in shares.values():
        if (share.party, is_active(share)) != (first.party, is_active(first)):
            raise ConfigurationError(
                f"the shares are of {first.party} and {share.party}, or of two sides: one is served"
            )
    return shares


def features_of(settings: Settings, path: Path, models: Iterable[Taker]) -> Features:
    """The features of all models' columns in a file."""
    return open_features(path, models, id_column=settings.data.id, table=settings.data.table)


def data_of(settings: Settings, data: Path | None) -> Path:
    """The file of features: the one given, or that of the settings. ConfigurationError where neither is."""
    path = _named_data(settings, data)
    if path is None:
        raise ConfigurationError("no features: --data, or [data] file, names them")
    return path


def _named_data(settings: Settings, data: Path | None) -> Path | None:
    return data or (settings.path(settings.data.file) if settings.data.file else None)


def load_wholes(settings: Settings, paths: Sequence[Path]) -> dict[str, Whole]:
    """Active shares. ConfigurationError where a model has a party that is not configured."""
    wholes = {model: make_whole(share) for model, share in load_shares(paths).items()}
    for whole in wholes.values():
        for peer in whole.peers or ():
            if peer not in settings.peers:
                raise ConfigurationError(
                    f"model {whole.model} has splits of {peer}: [peers.{peer}] is needed"
                )
    return wholes


def load_active(settings: Settings, paths: Sequence[Path], data: Path | None) -> Loaded:
    """What the active party serves."""
    wholes = load_wholes(settings, paths)
    callers = Callers.load(settings.path(settings.http.tokens))
    path = _named_data(settings, data)
    if path is None:
        return Loaded(wholes, None, callers)
    features = features_of(settings, path, wholes.values())
    adapted = {model: Adapted(features, whole) for model, whole in wholes.items()}
    return Loaded(wholes, adapted, callers)


def load_passive(settings: Settings, paths: Sequence[Path], data: Path | None) -> Served:
    """What a passive party serves. ConfigurationError where it has no data."""
    shares = load_shares(paths)
    contact = settings.contact()
    others = settings.limits.mask_with
    party = next(iter(shares.values())).party
    masks = Masks(party, contact.keys, contact.allowed, others) if others else None
    path = data_of(settings, data)
    parts = {model: make_part(share, settings.limits.sum_bits, masks) for model, share in shares.items()}
    features = features_of(settings, path, parts.values())
    return Served(parts, {model: Adapted(features, part) for model, part in parts.items()})


def serve(settings: Settings, paths: Sequence[Path], data: Path | None, say: Say) -> None:
    """Serve until SIGTERM or SIGINT: the shares say which side this is."""
    share = next(iter(load_shares(paths).values()))
    if is_active(share):
        serve_active(share.party, settings, lambda: load_active(settings, paths, data), say)
    else:
        serve_passive(share.party, settings, lambda: load_passive(settings, paths, data), say)


def serve_passive(
    me: str, settings: Settings, load: Callable[[], Served], say: Say, *, one_file: bool = False
) -> None:
    """Answer questions until SIGTERM or SIGINT; SIGHUP reads shares and features again.

    `one_file`: for a file of ids, until it is done; its rows are not limited by the second.
    """
    limits = settings.limits
    audit = AuditLog(settings.path(settings.audit.file), settings.audit.ids)
    server = PassiveServer(
        me,
        load(),
        settings.contact(),
        job=settings.job,
        rate=(float("inf"), float("inf")) if one_file else limits.rate(active=False),
        daily=limits.daily(active=False),
        audit=audit,
    )
    with Signals() as signals:
        where = f", listening at {server.line.endpoint}" if server.line.endpoint else ""
        say(f"{me} {'answers for one file of ids' if one_file else 'serves its part'}{where}")
        try:
            while not (signals.ended() or (one_file and server.finished)):
                if signals.reload_wanted():
                    _reload_passive(server, load, audit)
                if server.line.failure is not None:
                    raise server.line.failure
        finally:
            server.close()
    say(f"{me} ends; {counted(server.answered, 'row')} answered")


def _reload_passive(server: PassiveServer, load: Callable[[], Served], audit: AuditLog) -> None:
    try:
        server.replace(load())
        audit.reopen()
        log.info("read again")
    except (HecoreError, OSError) as error:
        log.error("not read again, what was there goes on: %s", error)


def serve_active(me: str, settings: Settings, load: Callable[[], Loaded], say: Say) -> None:
    """Answer callers over HTTP until SIGTERM or SIGINT; SIGHUP reads shares, features and tokens again."""
    try:
        import uvicorn

        from hecore.algorithms.serving.web import Web
    except ImportError:
        raise ConfigurationError("the active party needs an extra: pip install '.[serve]'") from None
    audit = AuditLog(settings.path(settings.audit.file), settings.audit.ids)
    peers = Peers(me, settings.contact(), list(settings.peers), job=settings.job)
    with contextlib.ExitStack() as stack:
        stack.callback(audit.close)
        stack.callback(peers.close)
        service = ActiveService(settings, load, peers, audit)
        web = Web(service)
        config = uvicorn.Config(
            web.app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
            timeout_keep_alive=KEEP_ALIVE,
            ssl_certfile=settings.http.certificate and settings.path(settings.http.certificate),
            ssl_keyfile=str(settings.path(settings.http.key)) if settings.http.key else None,
        )
        door = stack.enter_context(_bound(settings.http.address, settings.http.port))
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(uvicorn.Server(config), service, door, _address(settings, door, me), say))
    say(f"{me} ends")


async def _run(
    server: uvicorn.Server, service: ActiveService, door: socket.socket, address: str, say: Say
) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def hang_up() -> None:
        task = loop.create_task(_reload_active(service))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    # uvicorn raises a signal that ended it once more; with this the process ends as one that did its work.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    say(address)
    watch = loop.create_task(_watch(service, server))
    await server.serve(sockets=[door])
    watch.cancel()
    if service.peers.line.failure is not None:
        raise service.peers.line.failure


async def _watch(service: ActiveService, server: uvicorn.Server) -> None:
    """End the service when the line's thread has died: whatever restarts processes shall see it."""
    while service.peers.line.failure is None:
        await asyncio.sleep(1.0)
    server.should_exit = True


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop, where it is installed: requests take half the time."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _reload_active(service: ActiveService) -> None:
    try:
        await service.reload()
    except (HecoreError, OSError) as error:
        log.error("not read again, what was there goes on: %s", error)


def _address(settings: Settings, door: socket.socket, me: str) -> str:
    scheme = "https" if settings.http.certificate else "http"
    host, port = door.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{me} serves at {scheme}://{shown}:{port}, explained at {scheme}://{shown}:{port}/docs"


@contextlib.contextmanager
def _bound(address: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # The protocol is named: of a socket without it asyncio does not know that it is TCP, and leaves Nagle's
    # algorithm on, which holds an answer back for 40 ms.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((address, port))
            door.listen(BACKLOG)  # from here on callers are not refused, though uvicorn is not there yet
        except OSError as error:
            raise ConfigurationError(
                f"http.address, http.port = {address}, {port}: {error.strerror}"
            ) from None
        yield door


class Signals:
    """SIGTERM and SIGINT end, SIGHUP asks to read again, while it is entered in the main thread."""

    def __init__(self) -> None:
        self._end, self._reload = threading.Event(), threading.Event()
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        for number, event in (
            (signal.SIGTERM, self._end),
            (signal.SIGINT, self._end),
            (signal.SIGHUP, self._reload),
        ):
            self._before[number] = signal.signal(number, lambda *_, event=event: event.set())
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def ended(self, seconds: float = 0.2) -> bool:
        """Whether the process shall end; waits a while for it."""
        return self._end.wait(seconds)

    def reload_wanted(self) -> bool:
        """Whether a reload was asked for since the last call."""
        wanted = self._reload.is_set()
        self._reload.clear()
        return wanted
