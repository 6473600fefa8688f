"""One party of a joint logistic regression over CSV files; run it once on each side.

    party.py keys MY_KEYS                      make channel keys; send the printed public key to the peer
    party.py active  TRAIN.csv SCORE.csv ...   the side with the label column; listens
    party.py passive TRAIN.csv SCORE.csv ...   the side with further columns only; dials

README.md beside this file walks through it. Both sides' files hold the same ids in the same order.
"""

from __future__ import annotations

import argparse
import csv
import sys

from hecore.algorithms.channel import CurveKeys, dial, listen
from hecore.algorithms.data import read_csv
from hecore.algorithms.lr import LinearConfig, Progress, VerticalLogisticRegression
from hecore.errors import HecoreError


def show(progress: Progress) -> None:
    """One line an epoch."""
    if progress.batch == progress.batches:
        print(f"epoch {progress.epoch + 1}/{progress.epochs}, {progress.seconds:.1f} s", flush=True)


def train(arguments: argparse.Namespace) -> None:
    """Train with the other side, score the second file, save this side's share of the model."""
    me, peer = arguments.role, {"active": "passive", "passive": "active"}[arguments.role]
    table = read_csv(arguments.train, label_column=arguments.label)
    rows = read_csv(arguments.score)
    if tuple(name for name in rows.columns if name != arguments.label) != table.columns:
        sys.exit(f"error: {arguments.score} has other columns than {arguments.train}")
    rows = rows.select(table.columns)
    connect = listen if me == "active" else dial
    config = LinearConfig(epochs=arguments.epochs, batch_size=arguments.batch_size)
    keys = CurveKeys.load(arguments.keys)
    print(f"{connect.__name__} {arguments.endpoint}, waiting up to a minute for {peer}", flush=True)
    with connect(me, peer, arguments.endpoint, keys, {peer: arguments.peer_key}, job="credit") as channel:
        model = VerticalLogisticRegression(channel, config)
        model.fit(table, on_progress=show)
        model.save(arguments.model)
        print(f"model share written to {arguments.model}; loss by epoch {[round(x, 4) for x in model.loss_]}")
        scores = model.predict_proba(rows)
    if scores is not None:
        with open(arguments.scores, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "score"])
            writer.writerows(zip(rows.ids, scores[:, 1].tolist(), strict=True))
        print(f"{len(rows)} scores written to {arguments.scores}")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    roles = parser.add_subparsers(dest="role", required=True)
    roles.add_parser("keys", help="make channel keys").add_argument("keys", help="file to write")
    for role in ("active", "passive"):
        side = roles.add_parser(role, help=f"run the {role} side")
        side.add_argument("train", help="CSV file to train on")
        side.add_argument("score", help="CSV file to score")
        side.add_argument("--keys", required=True, help="this side's channel keys")
        side.add_argument("--peer-key", required=True, help="the other side's public channel key")
        side.add_argument("--endpoint", default="tcp://127.0.0.1:5701", help="where the active side listens")
        side.add_argument("--model", default=f"{role}-model.json", help="file for this side's model share")
        side.add_argument("--epochs", type=int, default=4, help="equal on both sides")
        side.add_argument("--batch-size", type=int, default=128, help="equal on both sides")
        side.set_defaults(label=None)
        if role == "active":
            side.add_argument("--label", default="y", help="label column, 0 or 1; not needed in SCORE.csv")
            side.add_argument("--scores", default="scores.csv", help="file for the scores")
    return parser.parse_args(arguments)


def main() -> None:
    """Run one side; an error that hecore raises on purpose ends with its text."""
    arguments = parse()
    try:
        if arguments.role == "keys":
            keys = CurveKeys.generate()
            keys.save(arguments.keys)
            print(keys.public)
        else:
            train(arguments)
    except (HecoreError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


if __name__ == "__main__":
    main()
