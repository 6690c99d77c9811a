"""A package whose docstring lists its modules lists all of them, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

import trio_rpc

ROOT: Final = Path(trio_rpc.__file__).parent

_ITEM: Final = re.compile(r"^\* .*(?:\n  .*)*", re.MULTILINE)
#: The names in front of a colon: "* `a`, `b`: what they are. `c`: what that is."
_LISTED: Final = re.compile(r"((?:`\w+`(?:, |,\n  )?)+):")


def docstring_of(package: Path) -> str:
    return ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""


def modules_of(package: Path) -> set[str]:
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    return modules | {path.parent.name for path in package.glob("*/__init__.py")}


PACKAGES: Final = [
    path.parent for path in ROOT.rglob("__init__.py") if "\n* `" in docstring_of(path.parent)
]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_modules_of_a_package_are_those_that_it_lists(package: Path) -> None:
    items = "".join(_ITEM.findall(docstring_of(package)))
    named = set(re.findall(r"`(\w+)`", items))
    listed = {name for names in _LISTED.findall(items) for name in re.findall(r"\w+", names)}
    assert listed <= modules_of(package) <= named


def test_there_are_such_packages() -> None:
    assert len(PACKAGES) > 10
