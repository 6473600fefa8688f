"""How long `import hecore` takes in a new process; the target is half a second."""

from __future__ import annotations

import subprocess
import sys

from pytest_benchmark.fixture import BenchmarkFixture


def test_import_time(benchmark: BenchmarkFixture) -> None:
    done = benchmark(subprocess.run, [sys.executable, "-c", "import hecore"], check=False)
    assert done.returncode == 0
