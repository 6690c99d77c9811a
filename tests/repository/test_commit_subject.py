"""The hook that checks the subjects of commits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .commit_subject import problems_of

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    "subject",
    [
        "Answer 1503 to calls that are pending when the room closes",
        "Pass on what is left of the time",
        "Bring the words of the design into the docstrings",
        "Need no token for a room in memory",
        "Focus on one",
        "Re-export the errors",
        "Embed a server",
        "A" + "x" * 69 + " y",
        "Merge branch 'people' into main, whose subject git wrote, however long it may be",
        'Revert "Answer 1503 to calls that are pending when the room closes, at once"',
        "fixup! Pass on what is left of the time",
    ],
)
def test_these_are_fine(subject: str) -> None:
    assert problems_of(subject) == []


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        ("", "does not begin with a verb"),
        ("add a hook", "does not begin with a verb"),
        ("Tests: no ps, which a bare machine lacks", "does not begin with a verb"),
        ("Hooks", "does not begin with a verb"),
        ("Adds a hook", "not imperative"),
        ("Added a hook", "not imperative"),
        ("Adding a hook", "not imperative"),
        ("Callbacks that take long", "not imperative"),
        ("The hook that was missing", "not imperative"),
        ("No ps in tests", "not imperative"),
        ("Add a hook.", "ends with a full stop"),
        ("Add " + "x" * 69, "it has 73 characters, of at most 72"),
    ],
)
def test_these_are_rejected(subject: str, problem: str) -> None:
    (said,) = problems_of(subject)
    assert problem in said


@pytest.mark.parametrize(
    ("message", "code"),
    [("Add a hook\n\nIt was missing.\n", 0), ("# Comment\n\nAdded a hook\n", 1)],
)
def test_the_hook_reads_the_file_that_git_names(message: str, code: int, tmp_path: Path) -> None:
    file = tmp_path / "COMMIT_EDITMSG"
    file.write_text(message)
    command = [sys.executable, "-m", "tests.repository.commit_subject", str(file)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == code
    assert ("is not imperative" in result.stderr) == bool(code)
