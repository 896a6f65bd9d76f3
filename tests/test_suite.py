"""Nothing is lost of the suite itself: a merge once emptied a file of 290 tests, unnoticed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import COLLECTED as COUNT

TESTS = Path(__file__).parent
MODULES = sorted(TESTS.rglob("test_*.py"))

COLLECTED = 6686
"""Number of tests that the whole suite collects, the long ones included. It grows with the suite;
lower it only in a commit that says which tests went, and why."""

MARGIN = 25
"""How many tests more there may be before the figure must be raised, or a loss would be hidden."""


def functions_of(tree):
    """Names of the test functions of a module, also those in classes."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, functions) and node.name.startswith("test_")
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(TESTS).as_posix())
def test_every_test_module_has_tests(path):
    assert functions_of(ast.parse(path.read_text())), f"{path.name} has no test"


def test_an_empty_module_would_be_seen():
    assert functions_of(ast.parse("")) == []
    assert functions_of(ast.parse("class TestIt:\n    def test_one(self): ...")) == ["test_one"]


def test_no_test_is_lost(request):
    """Judged where the whole suite is collected; deselected tests count."""
    asked = [Path(word.partition("::")[0]).resolve() for word in request.config.args]
    if asked != [TESTS]:
        pytest.skip("only a part of the suite was collected")
    count = request.config.stash[COUNT]
    assert count >= COLLECTED, f"{COLLECTED - count} tests are gone"
    assert count <= COLLECTED + MARGIN, f"write {count} into COLLECTED, so that a loss is seen"
