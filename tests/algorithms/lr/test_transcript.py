"""What is on the wire: nothing but shares, masked values and ciphertexts.

Every message of a run is recorded. All numbers that anybody but their owner can read out of it, and all raw
payloads, are compared with the private vectors of the step (columns, partial logits, logits, residuals)
by the best affine fit: an equal or affinely related vector fits with R² = 1. The same check on a run whose
masks are set to zero finds such vectors, so it can fail.
"""

from __future__ import annotations

import numpy as np
import pytest

from hecore import CipherBatch, Decryptor, FixedPoint
from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.lr import messages, steps
from hecore.algorithms.party import Hello

from .conftest import clear_steps, fit_pair, small_config, tables

ROWS, CONFIG = 96, small_config(epochs=2, batch_size=48)
#: As many that no gradient fits another vector by chance: 8 numbers reach R² = 1 − 10^−6 once in 10^18.
COLUMNS = (7, 8)
#: Independent vectors of 48 rows reach this R² once in 10^14 tries.
SUSPICIOUS = 0.75


class Recorder:
    """A channel that keeps what it sends."""

    def __init__(self, channel):
        self._channel = channel
        self.sent = []

    def __getattr__(self, name):
        return getattr(self._channel, name)

    def send(self, message):
        self.sent.append(message)
        self._channel.send(message)


@pytest.fixture(scope="module")
def run(small_keys):
    return record(small_keys)


def record(keys):
    active, passive = tables(ROWS, *COLUMNS)
    ends = [Recorder(end) for end in loopback_pair()]
    pair = fit_pair(active, passive, CONFIG, keys, score=(active, passive), channels=ends)
    return active, passive, pair, ends


def affine_fit(vector, private):
    """R² of the best a·private + b."""
    vector, private = (np.asarray(v, dtype=np.float64) for v in (vector, private))
    if vector.std() == 0 or private.std() == 0:
        return float(np.array_equal(vector, private))
    return float(np.corrcoef(vector, private)[0, 1] ** 2)


def scaled(integers):
    """Python integers of any size as floats of unit scale, without overflow."""
    values = [int(v) for v in integers]
    shift = max(0, max(abs(v) for v in values).bit_length() - 60)
    return np.array([float(v >> shift) for v in values])


def private_vectors(step, leg):
    """The vectors of one step that no other party may see, per leg: by row, or by column."""
    if leg == "forward":
        xa, xb = step.x
        named = {f"active column {j}": xa[:, j] for j in range(xa.shape[1] - 1)}
        named |= {f"passive column {j}": xb[:, j] for j in range(xb.shape[1])}
        za, zb = (part[:, 0] for part in step.partial)
        logits = {"partial logit a": za, "partial logit b": zb, "logit": za + zb}
        return named | logits | {"residual": step.residual[:, 0]}
    return {"gradient a": step.gradient[0][:, 0], "gradient b": step.gradient[1][:, 0]}


def readable(message, keys, sender):
    """The integers that the receiver of a message can read from it."""
    receiver = keys[1 - sender]
    if isinstance(message, messages.MaskedProduct):
        batch = CipherBatch.from_bytes(message.payload[0], receiver.public)
        return Decryptor(receiver).decrypt_fixed(batch).to_integers()
    return None


def worst_fits(run, keys):
    """The best fit of any readable or raw vector with any private one, by name."""
    active, passive, _, ends = run
    truth = {(s.epoch, s.batch): s for s in clear_steps(active, passive, config=CONFIG)}
    fits = []
    for sender, end in enumerate(ends):
        for message in end.sent:
            if not isinstance(message, messages.EncryptedShare | messages.MaskedProduct):
                continue
            step = truth[message.epoch, message.batch]
            width = keys[0].public.square.nbytes
            raw = np.frombuffer(message.payload[0][-(len(message.payload[0]) // width) * width :], np.uint8)
            raw = [int.from_bytes(row.tobytes(), "little") for row in raw.reshape(-1, width)]
            for vector in (raw, readable(message, keys, sender)):
                if vector is None:
                    continue
                for leg in ("forward", "backward"):
                    for name, private in private_vectors(step, leg).items():
                        if len(private) == len(vector) > 20 or (
                            len(private) == len(vector) and leg == "backward"
                        ):
                            fits.append((affine_fit(scaled(vector), private), name, type(message).__name__))
    return fits


def test_only_the_known_messages_are_sent(run):
    allowed = {
        Hello,
        messages.EncryptedShare,
        messages.MaskedProduct,
        messages.LossQuery,
        messages.LossShare,
        messages.EpochEnd,
        messages.Terms,
        messages.FinalShare,
        messages.ScoreShare,
    }
    *_, ends = run
    kinds = {type(message) for end in ends for message in end.sent}
    assert kinds == allowed
    batches = CONFIG.epochs * 2
    for end in ends:
        for kind in (messages.EncryptedShare, messages.MaskedProduct):
            assert sum(isinstance(m, kind) for m in end.sent) == 2 * batches


def test_no_readable_vector_is_an_affine_image_of_a_private_one(run, small_keys):
    fits = worst_fits(run, small_keys)
    by_row = [fit for fit in fits if not fit[1].startswith("gradient")]
    assert len(by_row) > 100
    assert max(by_row)[0] < SUSPICIOUS, max(by_row)
    # A gradient has a few entries only; an exact affine image still fits to 6 digits, chance does not.
    assert max(fits)[0] < 1 - 1e-6, max(fits)


def test_the_check_finds_partial_logits_where_masks_are_missing(small_keys, monkeypatch):
    def no_mask(shape, bits, scale_bits, draw=None):
        return FixedPoint.zeros(shape, scale_bits)

    monkeypatch.setattr(steps, "random_mask", no_mask)
    fits = worst_fits(record(small_keys), small_keys)
    assert {name for fit, name, _ in fits if fit > 1 - 1e-6} >= {"partial logit a", "partial logit b"}


def test_shares_alone_say_nothing_of_the_weights_or_residuals(run, small_keys):
    """What a party encrypts is its own share: large, and unrelated to the secret."""
    active, passive, _, ends = run
    truth = {(s.epoch, s.batch): s for s in clear_steps(active, passive, config=CONFIG)}
    seen = 0
    for sender, end in enumerate(ends):
        for message in end.sent:
            if isinstance(message, messages.EncryptedShare) and message.leg == "backward":
                own = small_keys[sender]
                batch = CipherBatch.from_bytes(message.payload[0], own.public)
                share = Decryptor(own).decrypt_fixed(batch).to_integers()
                step = truth[message.epoch, message.batch]
                assert min(abs(int(v)).bit_length() for v in share) > CONFIG.mask_bits
                for private in (step.residual[:, 0], step.logits[:, 0], active.label[step.rows]):
                    assert affine_fit(scaled(share), private) < SUSPICIOUS
                seen += 1
    assert seen == 8


def test_no_ciphertext_is_sent_twice_and_replies_are_rerandomised(run, small_keys):
    *_, ends = run
    width = small_keys[0].public.square.nbytes
    everything = []
    for end in ends:
        for message in end.sent:
            if isinstance(message, messages.EncryptedShare | messages.MaskedProduct | messages.ScoreShare):
                data = message.payload[0]
                count = (len(data) - 72) // width
                everything += [data[-(i + 1) * width :][:width] for i in range(count)]
    assert len(everything) > 400
    assert len(set(everything)) == len(everything)


def test_the_loss_share_is_masked(run):
    _, _, pair, ends = run
    shares = [m for end in ends for m in end.sent if isinstance(m, messages.LossShare)]
    assert len(shares) == CONFIG.epochs
    for share, loss in zip(shares, pair.active.loss_, strict=True):
        value = int.from_bytes(share.payload[0], "little", signed=True)
        total = (loss - np.log(2) + 0.5) * ROWS / 2 * 2.0 ** (2 * (CONFIG.weight_bits + 2))
        assert abs(value) > total * 2.0**CONFIG.mask_bits
