"""Copy the tables of THREAT_MODEL.md into the package, for the pages of `hecore report`."""

from __future__ import annotations

from pathlib import Path

from hecore.algorithms.report import leaks

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    document = (ROOT / "THREAT_MODEL.md").read_text(encoding="utf-8")
    (ROOT / "algorithms" / "report" / leaks.FILE).write_bytes(leaks.dump(leaks.parse(document)))
