"""Names and figures for people."""

from __future__ import annotations

ALGORITHMS = {
    "gbdt": "Gradient-boosted trees",
    "linear": "Linear model",
    "lr": "Logistic regression",
    "logistic": "Logistic regression",
    "poisson": "Poisson regression",
    "psi": "Private set intersection",
}
METRICS = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "loss": "loss",
    "logloss": "log loss",
    "mlogloss": "log loss",
    "error": "error rate",
    "rmse": "RMSE",
    "mae": "MAE",
    "mse": "MSE",
    "deviance": "Poisson deviance",
    "poisson-nloglik": "Poisson loss",
}
#: From 0 to 1, whatever the data.
SHARES = {"auc", "accuracy", "ks", "error"}
#: Of these more is better; of all others less.
GROWING = {"auc", "accuracy", "ks", "r²"}
PARTS = {"train": "training", "validation": "validation", "test": "test"}
CATEGORY_NAMES = {
    "compute": "computing",
    "encrypt": "encryption",
    "wait": "waiting",
    "network": "network",
}
PHASES = {
    "encrypt": "encrypting",
    "decrypt": "decrypting",
    "pack": "packing, fresh noise",
    "validate": "validating what came",
    "histogram": "encrypted histograms",
    "product": "encrypted products",
    "local": "own histograms",
    "gradients": "gradients",
    "loss": "loss",
    "update": "weight updates",
    "checkpoint": "saving checkpoints",
    "psi": "aligning rows",
    "read": "reading tables",
    "keys": "making keys",
    "train": "the rest of the training",
    "score": "scoring test rows",
    "wait": "waiting for a message",
    "send": "sending",
    "": "outside of any phase",
}
OPERATIONS = {
    "encrypt": "values encrypted",
    "decrypt": "ciphertexts decrypted",
    "add": "ciphertexts added",
    "add_plain": "plain numbers added",
    "negate": "ciphertexts negated",
    "multiply": "ciphertexts × plain numbers",
    "sum": "ciphertexts summed up",
    "pack": "values packed into slots",
    "rerandomize": "ciphertexts re-randomised",
    "validate": "ciphertexts validated",
    "matrix_entries": "matrix entries × ciphertexts",
    "histogram_entries": "rows × columns summed up",
    "bytes_written": "of ciphertexts written",
    "bytes_read": "of ciphertexts read",
}


def operation(name: str, count: int) -> tuple[str, str]:
    """How many of what."""
    figure = size(count) if name.startswith("bytes_") else f"{count:,}"
    return figure, OPERATIONS.get(name, name)


def size(count: float) -> str:
    """Bytes, in units of a thousand."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            break
    return f"{count:,.0f} {unit}" if count >= 99.95 else f"{count:.3g} {unit}"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that say something."""
    if seconds < 0.1:
        return f"{1000 * seconds:.0f} ms" if seconds >= 0.001 else "< 1 ms" if seconds else "0 s"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for small, large, unit in ((60, 3600, ("min", "s")), (3600, 86400, ("h", "min"))):
        if whole < large:
            rest = whole % small * 60 // small
            return f"{whole // small} {unit[0]}" + (f" {rest} {unit[1]}" if rest else "")
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def moment(seconds: float) -> str:
    """A point on a time line."""
    return f"{seconds:.4g} s" if seconds < 60 else duration(seconds)


def share(part: float) -> str:
    """A part of 1 in per cent."""
    percent = 100 * part
    if 0 < percent < 0.05:
        return "< 0.1 %"
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.1f} %"


def number(value: float | None) -> str:
    """A metric."""
    if value is None:
        return "–"
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.1f}"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1000 else f"{value:.4g}"
