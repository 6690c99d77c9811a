"""The hook that checks the first lines of docstrings.

A function's opens with an imperative verb, that of a class, module or property with a noun phrase;
"Whether …" may open any. None opens with a free relative, such as "What …" or "Who …".
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_Documented: TypeAlias = ast.Module | ast.ClassDef | _Function

#: "What it does", "Whoever calls", "Those that wait"; but not "Whether it waits".
_FREE_RELATIVE: Final = re.compile(
    r"(?:(?:what|who|whom|whose|where|how|which|when|why)(?:(?:so)?ever)?"
    r"|(?:all|one|that|the one|those) (?:that|which|who))\b",
    re.IGNORECASE,
)
#: The openings of noun phrases and of prepositional phrases.
_NO_VERB: Final = re.compile(
    r"an?|the|th(?:is|at|ese|ose)|some|any|all|each|every|both|no|none|nothing|one|two|three|many"
    r"|more|most|such|another|others?|our|my|your|his|hers?|its?|their|he|she|they|we|you|there"
    r"|about|after|as|at|before|between|by|during|for|from|if|in|not|of|on|to|under|until"
    r"|with(?:in|out)?"
)
#: "Returns", "returned" and "returning"; but not "pass", "embed" and "bring".
_NOT_IMPERATIVE: Final = re.compile(r".*(?:[aeiouy].*ing|[^e]ed|[^su]s)")
_IMPERATIVE_ALL_THE_SAME: Final = {"alias", "bias", "embed", "shed", "shred"}
#: Verbs that describe a class, module or property in place of naming it.
_DESCRIPTION: Final = re.compile(
    r"(?:contain|count|decide|give|hold|implement|join|keep|make|measure|provide|raise|represent"
    r"|return|see|stand|store|take|write)s?|is|are|ha[sv]e?"
)


def problems_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line of each docstring to be mended in a program, and the reason."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _Documented) and (docstring := ast.get_docstring(node)):
            problem = _problem_of(docstring, _kind_of(node))
            if problem is not None:
                yield node.body[0].lineno, problem


def _kind_of(node: _Documented) -> str:
    if not isinstance(node, _Function):
        return "thing"
    decorators = " ".join(ast.unparse(each) for each in node.decorator_list)
    if "property" in decorators:
        return "thing"
    # The name of a fixture is used as a value, and a test says what holds.
    return "other" if "fixture" in decorators or node.name.startswith("test_") else "action"


def _problem_of(docstring: str, kind: str) -> str | None:
    if _FREE_RELATIVE.match(docstring):
        return "it opens with a free relative ('What …', 'Who …')"
    word = re.split(r"[\s,.:;]", docstring)[0]
    if word == "Whether":
        return None
    if kind == "action" and not _is_imperative(word):
        return f"{word!r} is not imperative: 'Return', not 'Returns' or 'The'"
    if kind == "thing" and _DESCRIPTION.fullmatch(word.lower()):
        return f"{word!r} describes the thing: name it, by a noun"
    return None


def _is_imperative(word: str) -> bool:
    """Guess, from its form alone, whether a word can be a verb in the imperative."""
    if not re.fullmatch(r"[A-Z][a-z]+(?:-[a-z]+)*", word):
        return False
    lower = word.lower()
    if lower in _IMPERATIVE_ALL_THE_SAME:
        return True
    return not (_NO_VERB.fullmatch(lower) or _NOT_IMPERATIVE.fullmatch(lower))


def main() -> int:
    """Check the files that are named; return the exit code."""
    found = 0
    for path in sys.argv[1:]:
        for line, problem in problems_of(Path(path).read_text(encoding="utf-8")):
            sys.stderr.write(f"{path}:{line}: the docstring: {problem}.\n")
            found = 1
    return found


if __name__ == "__main__":
    sys.exit(main())
