"""The Python examples of README.md and docs/ run as printed and give the results they print.

All blocks marked `python` of one page run in order, in one namespace, as a reader would type them.
A comment at the end of a bare expression is its result; one at the end of a `print(...)` is its
output. Each is compared as text, character for character. A remark stands on a line of its own.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import tokenize
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[int, str]]:
    """Return (number of the line before it, text) of every block marked `python`."""
    return [(page.count("\n", 0, m.start(1)), m.group(1)) for m in BLOCK.finditer(page)]


def trailing_comments(source: str) -> dict[int, str]:
    """Return {line: comment} of the comments that stand behind code."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokens
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip()
    }


def is_print(node: ast.expr) -> bool:
    """Return whether `node` is a call of print by its plain name."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    return node.func.id == "print"


def evaluate(node: ast.expr, filename: str, namespace: dict[str, Any]) -> str:
    """Evaluate `node`; return what it printed, or else its value, as text."""
    code = compile(ast.Expression(node), filename, "eval")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        value = eval(code, namespace)  # noqa: S307
    return printed.getvalue().strip() if is_print(node) else str(value)


def run_page(page: str, name: str) -> int:
    """Run all blocks of `page`; return how many printed results were compared."""
    namespace: dict[str, Any] = {"__name__": "__example__"}
    compared = 0
    for offset, source in blocks(page):
        expected = trailing_comments(source)
        for statement in ast.parse(source).body:
            line = statement.end_lineno or statement.lineno
            ast.increment_lineno(statement, offset)
            if isinstance(statement, ast.Expr):
                result = evaluate(statement.value, name, namespace)
                if line in expected:
                    assert result == expected[line], f"{name}:{line + offset}"
                    compared += 1
            else:
                module = ast.Module([statement], type_ignores=[])
                exec(compile(module, name, "exec"), namespace)  # noqa: S102
    return compared


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    compared = run_page(path.read_text(encoding="utf-8"), path.name)
    # Without a result to compare, an example that computes nonsense would pass.
    assert compared > 0 or path != PAGES[0]


PAGE = """# Title
```text
not python
```
```python
import math
x = 1.5  # a remark behind an assignment is not a result
x * 5    # 7.5
```
Words.
```python
print(
    math.floor(x), "a"
)  # 1 a
```
"""


def test_results_are_compared_across_blocks() -> None:
    assert run_page(PAGE, "page") == 2


@pytest.mark.parametrize(("right", "wrong"), [("# 7.5", "# 7.6"), ("# 1 a", "# 2 a")])
def test_a_wrong_result_is_noticed(right: str, wrong: str) -> None:
    with pytest.raises(AssertionError, match="page:"):
        run_page(PAGE.replace(right, wrong), "page")


def test_a_broken_example_is_noticed() -> None:
    with pytest.raises(NameError):
        run_page(PAGE.replace("import math\n", ""), "page")
