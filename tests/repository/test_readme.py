"""The claims of README.md, and the links of the pages that are not part of docs/."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.test_docs import blocks_of

ROOT: Final = Path(__file__).parent.parent.parent
README: Final = (ROOT / "README.md").read_text()
PAGES: Final = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + [
    ROOT / "docs" / "newsfragments" / "README.md"
]

_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


def headings_of(page: Path) -> set[str]:
    """Return the fragments by which links name the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows_of_alternatives() -> list[list[str]]:
    _, _, rest = README.partition("<!-- alternatives -->\n")
    table, _, _ = rest.partition("<!-- end of alternatives -->\n")
    _, _, *rows = table.strip().splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_first_program_is_short_and_runs_as_it_is_pasted() -> None:
    program, output, *_ = (
        block for block in blocks_of(README) if block.language in {"python", "text"}
    )
    assert program.language == "python"
    assert program.code.count("\n") <= 16
    # Line by line, as into the interactive interpreter, where an empty line ends a block.
    result = subprocess.run(
        [sys.executable, "-W", "error", "-i", "-q"],
        input=program.code,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout == output.code, result.stderr
    assert "Error" not in result.stderr


@pytest.mark.parametrize("row", rows_of_alternatives(), ids=lambda row: row[0])
def test_each_claim_about_an_alternative_has_a_link(row: list[str]) -> None:
    _, *claims = row
    assert len(claims) == 4
    assert all(_LINK.search(claim) for claim in claims)


@pytest.mark.parametrize("row", rows_of_alternatives(), ids=lambda row: row[0])
def test_the_figures_of_the_alternatives_are_those_that_were_measured(row: list[str]) -> None:
    name, rate, *_ = row
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    _, _, rest = page.partition("### 100 B, 100 in flight\n")
    table, _, _ = rest.partition("\n### ")
    (measured,) = [line for line in table.splitlines() if line.startswith(f"| {name} |")]
    figure = re.match(r"\[([\d,]+)\]", rate)
    assert figure is not None
    assert measured.split("|")[2].split()[0] == figure[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if "://" in link:
            continue
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not fragment or fragment in headings_of(target), link
