"""The page that says what is public lists what is in `__all__`, and the reference has all of it."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent.parent
REFERENCE: Final = ROOT / "docs" / "reference"
PAGE: Final = (REFERENCE / "stability.md").read_text()

#: The modules whose names are public.
MODULES: Final = (
    "trio_rpc",
    "trio_rpc.events",
    "trio_rpc.tokens",
    "trio_rpc.server",
    "trio_rpc.typed.mcp",
    "trio_rpc.typed.forwarding",
    "trio_rpc.testing",
)
LEVELS: Final = ("LiveKit's", "ours", "provisional")
_SECTION: Final = re.compile(
    r"^## `(?P<module>[\w.]+)`\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL
)
SECTIONS: Final = {match["module"]: match["text"] for match in _SECTION.finditer(PAGE)}

every_module = pytest.mark.parametrize("module", MODULES)


def rows_of(module: str) -> list[list[str]]:
    """Return the cells of the table of a module."""
    table = [line for line in SECTIONS[module].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_the_page_has_a_section_for_each_public_module() -> None:
    assert tuple(SECTIONS) == MODULES


@every_module
def test_the_page_lists_all_public_names_once(module: str) -> None:
    listed = [name for names, _, _ in rows_of(module) for name in re.findall(r"`(\w+)`", names)]
    assert sorted(listed) == sorted(import_module(module).__all__)


@every_module
def test_the_page_says_how_stable_each_name_is(module: str) -> None:
    for names, _, level in rows_of(module):
        assert level == "as there" or any(each in level for each in LEVELS), names


@every_module
def test_public_names_are_there_and_in_order(module: str) -> None:
    names = import_module(module).__all__
    assert [name for name in names if not hasattr(import_module(module), name)] == []
    # Constants first, as ruff has them.
    assert names == sorted(names, key=lambda name: (not name.isupper(), name))


@every_module
def test_the_reference_has_an_entry_for_each_public_name(module: str) -> None:
    entries = {
        entry.rpartition(".")[2]
        for page in REFERENCE.glob("*.md")
        for entry in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE)
    }
    assert {*import_module(module).__all__} <= entries
