"""VerticalLogisticRegression: one party's estimator, with scikit-learn's manners."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore import CipherBatch, Decryptor, Encryptor, Meter, SlotLayout, decode, generate_key
from hecore.algorithms.channel import Channel
from hecore.algorithms.checkpoint import Checkpoints, Run
from hecore.algorithms.data import Table
from hecore.algorithms.draws import fresh
from hecore.algorithms.errors import (
    ConfigurationError,
    HandshakeError,
    ProtocolError,
    TableError,
)
from hecore.algorithms.lr import messages as msg
from hecore.algorithms.lr import steps
from hecore.algorithms.lr.config import LogisticRegressionConfig
from hecore.algorithms.lr.training import Arrays, Progress, SharedTraining, Standing
from hecore.algorithms.party import ACTIVE, PASSIVE, Peer, handshake
from hecore.kernels import Backend
from hecore.kernels.select import resolve
from hecore.keys import PrivateKey, PublicKey
from hecore.wire import dump_key, load_key

FIT_TASK, PREDICT_TASK = "lr.shared.fit", "lr.predict"
FORMAT, VERSION = "hecore logistic regression share", 1
#: Partial logits on their way to the active party: 16 fractional bits, |z| < 2^20. More digits would tell
#: more of the columns behind them than a score needs.
SCORE_BITS, SCORE_LIMIT_BITS = 16, 20


class VerticalLogisticRegression:
    """Logistic regression over two parties' columns; both call the same methods in the same order.

    The party whose table has a label (0/1) is the active one. Neither learns the other's columns, weights or
    any value per row while training; the active party alone gets scores. See `steps` for the protocol and
    `messages` for who can read what.

    channel   the Channel to the other party
    config    parameters; equal at both parties
    key       this party's key pair; None generates a fresh 2048-bit one
    backend   a Backend, its name, or None for automatic choice
    checkpoints   of a durable channel: a party that was killed is started again with the same data, and
              calls the same methods in the same order; it goes on where it was, to the same result
    """

    def __init__(
        self,
        channel: Channel,
        config: LogisticRegressionConfig | None = None,
        *,
        key: PrivateKey | None = None,
        backend: Backend | str | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.channel = channel
        self.config = config or LogisticRegressionConfig()
        self.backend = resolve(backend)
        self.key = key or generate_key()
        self.checkpoints = checkpoints
        self.meter = Meter()
        self._record: msg.ModelRecord | None = None

    def fit(
        self, table: Table, on_progress: Callable[[Progress], None] | None = None
    ) -> VerticalLogisticRegression:
        """Train with the other party. Columns are standardised here, by this party's own means.

        Raises HandshakeError where the parties do not match, ConfigurationError for too small batches,
        TableError for labels other than 0/1, values that are missing or no numbers, or features beyond the
        limit; on any error the peer is told.
        """
        with self._talking():
            table = table.require_numbers()
        role = PASSIVE if table.label is None else ACTIVE
        from sklearn.preprocessing import StandardScaler  # heavy import

        scaler = StandardScaler().fit(table.values)
        features = scaler.transform(table.values)
        if role == ACTIVE:
            features = np.column_stack([features, np.ones(len(table))])  # the intercept's column
        with self._talking():
            _check_label(table)
            run = self._begin(FIT_TASK, table, self.config)
            found = run.latest() if run else None
            saved = None if found is None else msgspec.json.decode(found.state, type=_Saved)
            if saved is not None and saved.record is not None:
                self._record = saved.record
                return self
            peer = self._meet(FIT_TASK, role, table, self.config, run) if saved is None else saved.peer.load()
            self._agree(table, peer)
            training = SharedTraining(
                self.channel,
                self.config,
                steps.encode_features(features, self.config),
                table.label,
                self.key,
                replace(peer, columns=peer.columns + (role == PASSIVE)),
                backend=self.backend,
                meter=self.meter,
                on_progress=on_progress,
                draws=run.draws if run else fresh,
                save=_saver(run, peer) if run else None,
                resume=None if found is None or saved is None else (saved.standing, found.arrays),
            )
            weights = [float(w) for w in decode(training.run())]
            record = msg.ModelRecord(
                format=FORMAT,
                version=VERSION,
                model=peer.session,
                party=self.channel.me,
                columns=list(table.columns),
                weights=weights[: len(table.columns)],
                mean=scaler.mean_.tolist(),
                scale=scaler.scale_.tolist(),
                intercept=weights[-1] if role == ACTIVE else None,
                loss=training.loss,
            )
            if run:
                run.finish(_Saved(peer=_SavedPeer.of(peer), record=record))
        self._record = record
        return self

    def predict_proba(self, table: Table) -> NDArray[np.float64] | None:
        """Joint scores for the rows of `table`: (rows, 2) probabilities at the active party, None elsewhere.

        The passive party sends its partial logits encrypted under the active party's key; only the active
        party learns anything, and no more than these.
        """
        record = self._fitted()
        with self._talking():
            table = table.require_numbers()
            if tuple(record.columns) != table.columns:
                raise TableError(f"{table.name}: {_difference(record.columns, table.columns)}")
        partial = (table.values - np.array(record.mean)) / np.array(record.scale) @ np.array(record.weights)
        active = record.intercept is not None
        with self._talking():
            terms = msg.ScoreTerms(model=record.model)
            run = self._begin(PREDICT_TASK, table, terms)
            found = run.latest() if run else None
            if found is not None:
                theirs = found.arrays.get("theirs")
            else:
                peer = self._meet(PREDICT_TASK, ACTIVE if active else PASSIVE, table, terms, run)
                theirs = self._partial_scores(peer, partial, active)
                if run:
                    run.finish(arrays={} if theirs is None else {"theirs": theirs})
        if theirs is None or record.intercept is None:
            return None
        logits = partial + record.intercept + theirs
        positive = 1.0 / (1.0 + np.exp(-logits))
        return np.column_stack([1.0 - positive, positive])

    def predict(self, table: Table) -> NDArray[np.int64] | None:
        """Joint 0/1 decisions at the active party, None at the other."""
        scores = self.predict_proba(table)
        return None if scores is None else (scores[:, 1] > 0.5).astype(np.int64)

    # --- the trained share --------------------------------------------------------------------------

    @property
    def coef_(self) -> NDArray[np.float64]:
        """Weights of this party's standardised columns."""
        return np.array(self._fitted().weights)

    @property
    def intercept_(self) -> float | None:
        """The intercept, at the active party."""
        return self._fitted().intercept

    @property
    def loss_(self) -> list[float]:
        """Mean training loss of each epoch; empty with loss = false."""
        return list(self._fitted().loss)

    def digest(self) -> str:
        """SHA-256 of this party's share: equal where a run was killed and resumed, and where it was not."""
        return _digest(msgspec.json.encode(self._fitted()))

    def save(self, path: str | Path) -> None:
        """Write this party's share of the model as JSON."""
        Path(path).write_bytes(msgspec.json.format(msgspec.json.encode(self._fitted())))

    def load(self, path: str | Path) -> VerticalLogisticRegression:
        """Read a share written by `save`. ProtocolError if the file is no such share."""
        try:
            record = msgspec.json.decode(Path(path).read_bytes(), type=msg.ModelRecord)
        except msgspec.MsgspecError as error:
            raise ProtocolError(f"{path} is no model share: {error}") from None
        if (record.format, record.version) != (FORMAT, VERSION):
            raise ProtocolError(f"{path} holds {record.format!r} version {record.version}, not {VERSION}")
        self._record = record
        return self

    # --- pieces -------------------------------------------------------------------------------------

    def _fitted(self) -> msg.ModelRecord:
        if self._record is None:
            raise ProtocolError("there is no model yet: call fit, or load a share")
        return self._record

    def _begin(self, task: str, table: Table, terms: msgspec.Struct) -> Run | None:
        """The next run of a party that can be restarted, bound to all that its messages follow from."""
        if self.checkpoints is None:
            return None
        binding = {
            "configuration": _digest(msgspec.json.encode(terms, order="sorted")),
            "row ids": table.alignment().hex(),
            "table": table.digest().hex(),
            "key": self.key.public.fingerprint.hex(),
        }
        return self.checkpoints.begin(task, binding)

    def _agree(self, table: Table, peer: Peer) -> None:
        """What both parties have compared once is compared again whenever their processes meet."""
        if self.checkpoints is not None:
            keys = sorted(key.fingerprint for key in (self.key.public, peer.public))
            terms = {
                "configuration": _digest(msgspec.json.encode(self.config, order="sorted")),
                "row ids": table.alignment().hex(),
                "public keys": _digest(b"".join(keys)),
            }
            self.checkpoints.agree(terms)

    def _meet(
        self, task: str, role: str, table: Table, terms: msgspec.Struct, run: Run | None = None
    ) -> Peer:
        return handshake(
            self.channel,
            task=task,
            role=role,
            configuration=terms,
            table=table,
            public=self.key.public,
            draw=(run.draws if run else fresh)("hello"),
        )

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Count into the meter; on an error tell the peer what kind, never a value of the data."""
        try:
            with self.meter.activate():
                yield
        except Exception as error:
            told = isinstance(error, HandshakeError | ConfigurationError)
            self.channel.abort(str(error) if told else type(error).__name__)
            raise

    def _score_layout(self, public: PublicKey) -> SlotLayout:
        return SlotLayout.for_key(public, SCORE_BITS + SCORE_LIMIT_BITS)

    def _partial_scores(
        self, peer: Peer, partial: NDArray[np.float64], active: bool
    ) -> NDArray[np.float64] | None:
        """The other side's part of the logits, at the active party."""
        if active:
            return self._receive_scores(len(partial))
        self._send_scores(peer, partial)
        return None

    def _send_scores(self, peer: Peer, partial: NDArray[np.float64]) -> None:
        encryptor = Encryptor(peer.public, self.backend)
        layout = self._score_layout(peer.public)
        batch = encryptor.encrypt(partial, scale_bits=SCORE_BITS, layout=layout)
        self.channel.send(msg.ScoreShare(rows=len(partial), payload=(batch.to_bytes(),)))

    def _receive_scores(self, rows: int) -> NDArray[np.float64]:
        message = self.channel.receive(msg.ScoreShare)
        if message.rows != rows or len(message.payload) != 1:
            raise ProtocolError(f"{self.channel.peer} scored {message.rows} rows instead of {rows}")
        batch = CipherBatch.from_bytes(message.payload[0], self.key.public, self.backend)
        layout = self._score_layout(self.key.public)
        if (batch.shape, batch.layout, batch.scale_bits) != ((rows,), layout, SCORE_BITS):
            raise ProtocolError(f"{self.channel.peer} sent scores of shape {batch.shape}")
        scores: NDArray[np.float64] = Decryptor(self.key, self.backend).decrypt(batch)
        return scores


class _SavedPeer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Peer in a checkpoint; its key was checked when it came."""

    name: str
    columns: int
    session: str
    public: bytes

    @classmethod
    def of(cls, peer: Peer) -> _SavedPeer:
        return cls(peer.name, peer.columns, peer.session, dump_key(peer.public))

    def load(self) -> Peer:
        return Peer(self.name, load_key(self.public, insecure_test_key=True), self.columns, self.session)


class _Saved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of a training in a checkpoint; `record` when it is over."""

    peer: _SavedPeer
    standing: Standing = Standing()
    record: msg.ModelRecord | None = None


def _saver(run: Run, peer: Peer) -> Callable[[int, Standing, Arrays], None]:
    """Save when it is due."""
    saved = _SavedPeer.of(peer)

    def save(done: int, standing: Standing, arrays: Arrays) -> None:
        if run.due(done):
            run.save(done, _Saved(peer=saved, standing=standing), arrays)

    return save


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check_label(table: Table) -> None:
    if table.label is None:
        return
    bad = np.flatnonzero((table.label != 0) & (table.label != 1))
    if bad.size:
        raise TableError(f"{table.name}: label {table.label[bad[0]]:g} at row {bad[0]} is not 0 or 1")
    if table.label.min() == table.label.max():
        raise TableError(f"{table.name}: all labels are {table.label[0]:g}: there is nothing to learn")


def _difference(trained: list[str], given: tuple[str, ...]) -> str:
    missing = [name for name in trained if name not in given]
    extra = [name for name in given if name not in trained]
    if not missing and not extra:
        return "the columns stand in another order than in training"
    return f"columns differ from training (missing: {missing or 'none'}, new: {extra or 'none'})"
