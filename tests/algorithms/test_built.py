"""Types of records that several threads read for the first time."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import hecore.algorithms

#: Threads that take turns very often read classes that nobody has read before.
RACE = """
import sys, threading, types
import msgspec
from hecore.algorithms.built import built

SOURCE = '''
from __future__ import annotations
import msgspec
class Inner(msgspec.Struct):
    a: int
    b: dict[str, list[int]] | None = None
class Outer(msgspec.Struct):
    one: int
    two: list[Inner]
    three: tuple[int, ...] = ()
'''
read = []
def work(kind, together):
    together.wait()
    read.append(msgspec.json.decode(b'{"one": 1, "two": [{"a": 1}]}', type=built(kind)))

sys.setswitchinterval(1e-6)
for number in range(200):
    module = sys.modules[f"m{number}"] = types.ModuleType(f"m{number}")
    exec(SOURCE, vars(module))
    together = threading.Barrier(3)
    threads = [threading.Thread(target=work, args=(module.Outer, together)) for _ in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print(len(read))
"""
#: Of nothing that has fields; the last is one field's type (`check_kinds`).
PLAIN = {"dict[str, Any]", "list[str]", "Name", "field.type"}


def test_threads_may_read_a_class_for_the_first_time_together() -> None:
    """In a process of its own: without `built` it dies of a segmentation fault."""
    done = subprocess.run(
        [sys.executable, "-c", RACE], capture_output=True, text=True, timeout=250, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "600"), done.stderr


def test_every_record_is_read_by_a_type_that_is_built() -> None:
    kinds = {
        kind
        for path in Path(hecore.algorithms.__path__[0]).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("msgspec.")
        for kind in kinds_read(call)
    }
    assert "built(kind)" in kinds
    assert {kind for kind in kinds if not kind.startswith("built(")} <= PLAIN


def kinds_read(call: ast.Call) -> list[str]:
    """The type that a call of msgspec's decode or convert reads, as it is written."""
    if ast.unparse(call.func).rpartition(".")[2] not in ("decode", "convert"):
        return []
    given = [keyword.value for keyword in call.keywords if keyword.arg == "type"] or call.args[1:2]
    return [ast.unparse(kind) for kind in given]
