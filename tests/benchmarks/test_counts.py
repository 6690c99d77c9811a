"""A call takes no more function calls than docs/performance.md says."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from . import counts

#: The Python that the numbers are committed for: others inline or count other calls.
_PYTHON: Final = (3, 13)
#: The growth that a change of a library, or of a few lines, may cause.
_TOLERANCE: Final = 1.05

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        sys.version_info[:2] != _PYTHON, reason="the committed numbers are those of CPython 3.13"
    ),
]


@pytest.fixture(scope="module")
def counted() -> dict[str, dict[str, float]]:
    # In another process: what tests set up, such as a clock of their own, would be counted too.
    command = [sys.executable, "-m", "tests.benchmarks.counts"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return counts.parse(output)


@pytest.mark.parametrize("backend", counts.BACKENDS)
@pytest.mark.parametrize("name", counts.CASES)
def test_the_number_of_function_calls_does_not_grow(
    counted: dict[str, dict[str, float]], name: str, backend: str
) -> None:
    now = counted[name][backend]
    committed = counts.parse(counts.PAGE.read_text())[name][backend]
    assert now <= committed * _TOLERANCE, (
        f"{now:.0f} function calls, and {counts.PAGE.name} has {committed:.0f}. "
        f"{counts.conditions()} Where the growth is worth it: "
        "python -m tests.benchmarks.counts --write"
    )
