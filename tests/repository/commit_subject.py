"""The commit-msg hook: a subject is imperative, and short enough to be read in a list."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

MAX_LENGTH: Final = 72

#: Subjects that git writes, or rewrites later.
_BY_GIT: Final = re.compile(r"Merge |Revert \"|(?:fixup|squash|amend)! ")
_FIRST_WORD: Final = re.compile(r"[A-Z][a-z]+(?:-[a-z]+)*(?= )")
#: "Adding", "added" and "adds", and nouns; but not "bring", "need" and "pass".
_NOT_IMPERATIVE: Final = re.compile(r".*(?:[aeiouy].*ing|[^e]ed|[^su]s)|an?|the|these|it|no")
_IMPERATIVE_ALL_THE_SAME: Final = {"alias", "bias", "canvas", "embed", "shed", "shred"}


def problems_of(subject: str) -> list[str]:
    """Return the reasons to reject the subject of a commit; none if it is fine."""
    if _BY_GIT.match(subject):
        return []
    problems = []
    if len(subject) > MAX_LENGTH:
        problems.append(f"it has {len(subject)} characters, of at most {MAX_LENGTH}")
    if subject.endswith("."):
        problems.append("it ends with a full stop")
    first_word = _FIRST_WORD.match(subject)
    if first_word is None:
        problems.append("it does not begin with a verb and a capital letter: 'Add …', 'Fix …'")
    elif not _is_imperative(first_word[0].lower()):
        problems.append(f"{first_word[0]!r} is not imperative: 'Add', not 'Adds' or 'Added'")
    return problems


def _is_imperative(word: str) -> bool:
    """Guess, from its form alone, whether a word can be a verb in the imperative."""
    return word in _IMPERATIVE_ALL_THE_SAME or not _NOT_IMPERATIVE.fullmatch(word)


def main() -> int:
    """Check the message in the file that git names; return the exit code."""
    (path,) = sys.argv[1:]
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    subject = next((line for line in lines if line and not line.startswith("#")), "")
    problems = problems_of(subject)
    for problem in problems:
        sys.stderr.write(f"The subject of the commit: {problem}.\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
