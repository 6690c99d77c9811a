"""The rules of docs/protocol.md, and the tests that prove them.

A test names the rules that it proves: `@pytest.mark.rule("C1", "C2")`. What is here is read from
the sources, so that it is the same whichever tests are run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent.parent
PROTOCOL: Final = TESTS.parent / "docs" / "protocol.md"

_RULE_ROW: Final = re.compile(r"^\| ([A-Z]\d+) \|", re.MULTILINE)


def documented_rules() -> set[str]:
    """Return the ids of the rules in docs/protocol.md."""
    return set(_RULE_ROW.findall(PROTOCOL.read_text()))


def proofs_by_rule() -> dict[str, set[str]]:
    """Return the tests that name each rule, as `path::name`."""
    found: dict[str, set[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for rule, test in _marked_tests(path):
            found.setdefault(rule, set()).add(test)
    return found


def _marked_tests(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                for rule in _rules_of(decorator):
                    yield rule, f"{path.relative_to(TESTS)}::{node.name}"


def _rules_of(decorator: ast.expr) -> list[str]:
    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.rule":
        return [ast.literal_eval(argument) for argument in decorator.args]
    return []
