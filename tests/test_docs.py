"""The programs in README.md and docs/, run as a reader would run them.

A Python block is a program, unless an HTML comment in front of it says otherwise:

* `<!-- continues -->`: it goes on where the Python block before it ended;
* `<!-- skip: reason -->`: it can't be run.

A `text` block after `<!-- output -->` is what the program prints up to there; what is not announced
in this way may not be printed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import Final

import attrs
import pytest
from attrs import define, frozen

from trio_rpc import RoomEvent

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TIMEOUT: Final = 60.0

_BLOCK: Final = re.compile(
    r"^(?:(?P<indent> *)<!-- (?P<comment>[^\n]*) -->\n+)?"
    r"^(?P<fence_indent> *)```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^(?P=fence_indent)```$",
    re.MULTILINE | re.DOTALL,
)


@frozen
class Block:
    """A fenced block of a page.

    Attributes:
        comment: What the HTML comment in front of it says, if there is one.
        line: The line of its first line of code.
    """

    comment: str
    language: str
    code: str
    line: int


@define
class Program:
    """One or more blocks of a page that are run together."""

    path: Path
    line: int
    source: str
    output: str = ""

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page, in order."""
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        yield Block(match["comment"] or "", match["language"], dedent(match["code"]), line)


def programs_of(path: Path, text: str) -> list[Program]:
    """Return the programs of a page, in order."""
    programs: list[Program] = []
    for block in blocks_of(text):
        if block.language == "text" and block.comment == "output":
            programs[-1].output += block.code
        elif block.language == "python" and block.comment == "continues":
            # Padded, so that the lines of a traceback are those of the page.
            program = programs[-1]
            end = program.line + program.source.count("\n")
            program.source += "\n" * (block.line - end) + block.code
        elif block.language == "python" and not block.comment.startswith("skip: "):
            programs.append(Program(path, block.line, block.code))
    return programs


def run(program: Program, directory: Path) -> str:
    """Run a program with warnings as errors, and return what it printed."""
    script = directory / f"{program.path.stem}.py"
    script.write_text("\n" * (program.line - 1) + program.source)
    result = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    # A resource that was left open is only reported, since nobody can catch it.
    failed = result.returncode != 0 or "Exception ignored" in result.stderr
    assert not failed, f"{program}\n{indent(result.stderr, '    ')}"
    return result.stdout


PROGRAMS: Final = [program for page in PAGES for program in programs_of(page, page.read_text())]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_a_program_of_the_documentation_runs_as_written(program: Program, tmp_path: Path) -> None:
    assert run(program, tmp_path) == program.output


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (0, {"import trio\n": "import asyncio\n", "trio.run(main)": "asyncio.run(main())"}),
        (1, {'backend="trio"': 'backend="asyncio"'}),
    ],
)
def test_the_programs_of_the_readme_run_on_asyncio_as_it_says(
    number: int, changes: dict[str, str], tmp_path: Path
) -> None:
    program = PROGRAMS[number]
    source = program.source
    for old, new in changes.items():
        assert source.count(old) == 1
        source = source.replace(old, new)
    changed = Program(program.path, program.line, source)
    assert run(changed, tmp_path) == program.output != ""


def test_blocks_are_joined_and_skipped_as_their_comments_say() -> None:
    page = dedent(
        """\
        ```python
        a = 1
        ```

        ```shell
        not python
        ```

        <!-- continues -->
        ```python
        print(a)
        ```

        <!-- output -->
        ```text
        1
        ```

        <!-- skip: needs a robot -->
        ```python
        start_robot()
        ```

          ```python
          b = 2
          ```
        """
    )
    joined, last = programs_of(ROOT / "page.md", page)
    assert (joined.line, joined.output) == (2, "1\n")
    assert joined.source == "a = 1\n" + "\n" * 8 + "print(a)\n"
    assert (last.line, last.source, last.output) == (25, "b = 2\n", "")


def test_every_block_that_looks_like_python_is_found() -> None:
    for page in PAGES:
        text = page.read_text()
        found = sum(block.language == "python" for block in blocks_of(text))
        assert found == text.count("```python"), page


def test_the_reference_has_every_event_with_its_fields() -> None:
    page = (ROOT / "docs" / "reference" / "events.md").read_text()
    for event in RoomEvent.__subclasses__():
        names = ", ".join(f"`{field.name}`" for field in attrs.fields(event))  # type: ignore[arg-type]
        assert f"| `{event.name}` | {names or 'nothing'} |" in page
        assert f"::: trio_rpc.events.{event.__name__}\n" in page
