"""Made-up customers of a bank and of a telephone company, some of whom are customers of both.

    python make_data.py [--people N]

writes bank/customers.csv, with the label `default` (did not pay back, a bit more than one in five), and
telco/customers.parquet. Nobody in them exists: a hidden tendency of each person moves columns on both sides.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

HERE = Path(__file__).parent
#: The share of all people whom each company knows.
KNOWN = 0.85

Columns = dict[str, NDArray]


def bank_columns(rng: np.random.Generator, risk: NDArray) -> Columns:
    """What a bank knows: the limit of the card, the person, months in arrears, bills and payments."""
    people = risk.size
    limit = np.round(np.exp(rng.normal(11.7, 0.8, people) - 0.25 * risk), -3)
    columns = {
        "limit": limit.astype(np.int64),
        "age": np.clip(rng.normal(36, 9, people), 21, 75).astype(np.int64),
        "education": rng.choice(
            ["school", "degree", "doctorate", "other"], people, p=[0.38, 0.45, 0.14, 0.03]
        ),
        "family": rng.choice(["single", "married", "other"], people, p=[0.52, 0.45, 0.03]),
    }
    for month in (1, 2, 3):
        columns[f"months_late_{month}"] = np.clip(np.round(rng.normal(0.9 * risk - 0.6, 0.9)), 0, 8).astype(
            np.int64
        )
    for month in (1, 2, 3):
        used = np.clip(rng.beta(1.2, 2.0, people) + 0.08 * risk, 0, 1.1)
        columns[f"bill_{month}"] = np.round(limit * used).astype(np.int64)
    for month in (1, 2, 3):
        paid = np.clip(rng.normal(0.35, 0.25, people) - 0.1 * risk, 0, 1)
        columns[f"paid_{month}"] = np.round(columns[f"bill_{month}"] * paid).astype(np.int64)
    return columns


def telco_columns(rng: np.random.Generator, risk: NDArray) -> Columns:
    """What a telephone company knows: contract, use, reminders. The age of some devices is not known."""
    people = risk.size
    age_of_device = np.clip(rng.gamma(2.0, 11, people) + 3 * risk, 0, 90).round(1)
    age_of_device[rng.random(people) < 0.1] = np.nan
    return {
        "plan": np.where(rng.random(people) < 1 / (1 + np.exp(1.2 - 0.9 * risk)), "prepaid", "contract"),
        "months_customer": np.clip(rng.gamma(2.0, 22, people) - 5 * risk, 1, 240).astype(np.int64),
        "reminders": rng.poisson(np.exp(0.85 * risk - 1.2)),
        "top_ups": rng.poisson(np.exp(0.3 * risk + 0.2)),
        "minutes": np.round(rng.gamma(2.2, 60, people)).astype(np.int64),
        "gigabytes": np.round(rng.gamma(1.6, 4.5, people), 2),
        "abroad": rng.poisson(0.4, people),
        "hotline_calls": rng.poisson(np.exp(0.25 * risk - 0.7)),
        "device_months": age_of_device,
        "moved": (rng.random(people) < 0.06 + 0.05 * (risk > 0.8)).astype(np.int64),
    }


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    risk = rng.normal(size=options.people)
    default = (risk + 0.7 * rng.normal(size=options.people) > 0.94).astype(np.int64)
    ids = np.array([f"{number:07d}" for number in rng.choice(10**7, options.people, replace=False)])
    bank = {"customer": ids, "default": default, **bank_columns(rng, risk)}
    telco = {"customer": ids, **telco_columns(rng, risk)}
    for table in (bank, telco):
        kept = rng.permutation(options.people)[: round(KNOWN * options.people)]  # each in an order of its own
        table.update({name: column[kept] for name, column in table.items()})
    with open(HERE / "bank" / "customers.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(bank)
        writer.writerows(zip(*(column.tolist() for column in bank.values()), strict=True))
    columns = {name: pa.array(column, from_pandas=True) for name, column in telco.items()}
    pq.write_table(pa.table(columns), HERE / "telco" / "customers.parquet")
    print(f"bank/customers.csv and telco/customers.parquet: {len(kept):,} customers each")


if __name__ == "__main__":
    main()
