"""The hook that checks docstrings, and the docstrings of this repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .docstrings import problems_of

ROOT = Path(__file__).parent.parent.parent

FUNCTION = "def f():\n    {}"
METHOD = "class C:\n    async def f(self):\n        {}"
PROPERTY = "class C:\n    @property\n    def f(self):\n        {}"
FIXTURE = "@pytest.fixture\ndef f():\n    {}"
CONTEXT_MANAGER = "@asynccontextmanager\nasync def f():\n    {}"
CLASS = "class C:\n    {}"
MODULE = "{}"
EVERYWHERE = [FUNCTION, METHOD, PROPERTY, FIXTURE, CONTEXT_MANAGER, CLASS, MODULE]


def problems(where: str, docstring: str) -> list[str]:
    return [problem for _, problem in problems_of(where.format(f'"""{docstring}"""'))]


@pytest.mark.parametrize("where", EVERYWHERE)
@pytest.mark.parametrize(
    "docstring",
    [
        "What a caller gets.",
        "Who is in the room.",
        "Whose packets they are.",
        "Where a packet goes.",
        "How calls end.",
        "Which form a text takes.",
        "When it ends.",
        "Whatever was measured.",
        "Whoever can open a link.",
        "That which is sent.",
        "Those who wait.",
        "All that it needs.",
    ],
)
def test_no_docstring_opens_with_a_free_relative(where: str, docstring: str) -> None:
    (problem,) = problems(where, docstring)
    assert "free relative" in problem


@pytest.mark.parametrize("where", [FUNCTION, METHOD, CONTEXT_MANAGER])
@pytest.mark.parametrize(
    "docstring",
    [
        "Returns the answer.",
        "Returned the answer.",
        "Returning the answer.",
        "The answer.",
        "A link for as long as the block runs.",
        "Seconds of a call.",
        "As `send`.",
        "Called in the thread: many reports cost one call.",
        "`KEY=VALUE`.",
        "return the answer.",
    ],
)
def test_a_function_opens_with_an_imperative(where: str, docstring: str) -> None:
    (problem,) = problems(where, docstring)
    assert "not imperative" in problem


@pytest.mark.parametrize("where", [PROPERTY, CLASS, MODULE])
@pytest.mark.parametrize(
    "docstring", ["Counts the turns.", "Returns the answer.", "See the module."]
)
def test_a_thing_is_named(where: str, docstring: str) -> None:
    (problem,) = problems(where, docstring)
    assert "name it" in problem


@pytest.mark.parametrize(
    ("where", "docstring"),
    [
        *((where, "Whether the room is joined.") for where in EVERYWHERE),
        (FUNCTION, "Return what a caller gets.\n\n    What else it says does not matter.\n    "),
        (METHOD, "Pass a packet on, and keep the stream."),
        (CONTEXT_MANAGER, "Open a link for the block."),
        (FUNCTION, "Embed it."),
        (FUNCTION, "Bring it."),
        (FUNCTION, "Need it."),
        (FUNCTION, "Re-raise the error."),
        (PROPERTY, "The seconds of a call."),
        (FIXTURE, "Join a room: `async with join('alice') as room`."),
        (FIXTURE, "A server in memory."),
        (CLASS, "A leaky bucket."),
        (MODULE, "Tests of the hook."),
        (MODULE, "`DataPacket`: parsing one."),
        ("def test_it():\n    {}", "A late answer is dropped."),
    ],
)
def test_these_are_fine(where: str, docstring: str) -> None:
    assert problems(where, docstring) == []


def test_the_hook_names_the_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text('"""A module."""\n')
    bad.write_text('"""A module."""\n\n\nclass C:\n    """What it is."""\n')
    command = [sys.executable, "-m", "tests.repository.docstrings"]
    assert subprocess.run([*command, str(good)], cwd=ROOT, check=False).returncode == 0
    done = subprocess.run(
        [*command, str(good), str(bad)], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{bad}:5: the docstring: it opens with a free relative")


def test_the_docstrings_of_this_repository() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {problem}"
        for folder in ("trio_rpc", "tests", "docs")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, problem in problems_of(path.read_text(encoding="utf-8"))
    ]
    assert found == []
