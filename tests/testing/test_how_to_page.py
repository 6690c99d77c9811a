"""The tests on the page about testing, run by pytest as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from .test_pytest_plugin import run

PAGE: Final = Path(__file__).parents[2] / "docs" / "howto" / "test-your-program.md"
BLOCKS: Final = [
    block
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    if "\nasync def test_" in block
]


@pytest.mark.parametrize(
    ("block", "passed"),
    [*zip(BLOCKS, (3, 1, 1, 2, 1, 2, 20, 2), strict=True)],
    ids=[re.findall(r"async def (test_\w+)", block)[0] for block in BLOCKS],
)
def test_the_tests_of_the_page_pass(pytester: pytest.Pytester, block: str, passed: int) -> None:
    pytester.makepyfile(block)
    run(pytester, "-W", "error::RuntimeWarning").assert_outcomes(passed=passed)
