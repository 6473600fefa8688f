"""The tree in the docstring of `hecore.algorithms.errors` is the tree."""

from __future__ import annotations

import re

import pytest

from hecore.algorithms import errors
from hecore.kernels.errors import HecoreError

TREE = dict(re.findall(r"[├└]── (\w+) +(?:\((\w+)\))?", errors.__doc__ or ""))
DEFINED = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and kind is not HecoreError
}


def test_every_error_stands_in_the_tree() -> None:
    assert set(TREE) == set(DEFINED)


@pytest.mark.parametrize("name", sorted(DEFINED))
def test_bases_are_those_of_the_tree(name: str) -> None:
    builtin = [base.__name__ for base in DEFINED[name].__bases__ if base.__module__ == "builtins"]
    assert builtin == [TREE[name]] * bool(TREE[name])
    assert issubclass(DEFINED[name], HecoreError)
    assert DEFINED[name].__doc__
