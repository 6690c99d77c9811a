"""The table of results in docs/interop.md: pairs of participants, and what works between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from attrs import define, field

from .pairs import CASES, MEDIA_CASES, SERVERS, Case, ServerName

PAGE: Final = Path(__file__).parents[2] / "docs" / "interop.md"

#: The headings, each of which at least one test has in its marker `column`.
COLUMNS: Final = (
    "call",
    "15,360 B",
    "90 kB in chunks",
    "90 kB compressed",
    "custom error",
    "1400",
    "1401",
    "1402",
    "1500",
    "1502",
    "1503",
    "1504",
    "not text",
    "data",
    "text stream",
    "attributes",
)

#: The same for audio and video.
MEDIA_COLUMNS: Final = ("audio", "video", "unpublished", "after a rejoin")

#: What participants do that the rules don't ask for; the table has letters for these.
NOTES: Final = {
    "roster": "LiveKit's SDKs don't look whom they know: the answer is the server's.",
    "v1": "One of the two speaks RPC v1 alone, and more than 15,360 bytes is an error: 1402, or "
    "1504 in an answer.",
    "unlimited": "LiveKit's SDKs have no limit of their own over RPC v2: it goes through.",
    "leaks": "LiveKit's SDK for browsers tells a caller over RPC v1 the text of the exception.",
    "waits": "LiveKit's SDK for Node, and its old one for Python, don't end a call when the callee "
    "leaves. Where the callee doesn't answer 1503 itself, the caller's timeout ends it, with 1502.",
    "silent": "LiveKit's SDK for Python does not answer after a result that is not text: the "
    "caller's timeout ends the call, with 1502.",
    "converts": "LiveKit's SDKs for JavaScript make a text of a number.",
    "typed": "A handler of LiveKit's SDK for Go can return nothing but text.",
    "dropped": "A livekit-server drops what it can't deliver, and says nothing: LiveKit's SDKs end "
    "such a call with 1501, after 7 s.",
    "misses": "LiveKit's old SDK for Python listens for the answer after it has called, and may "
    "miss one that comes at once: then the call ends with 1501, after 7 s. The tests call again.",
}

_PASSED: Final = "✓"
_FAILED: Final = "✗"

Cell = tuple[Case, str]


@define
class Table:
    """The results of the tests of pairs.

    Attributes:
        figures: What was measured besides, as sentences.
    """

    figures: list[str] = field(factory=list)
    _outcomes: dict[Cell, str] = field(factory=dict)
    _notes: dict[Cell, set[str]] = field(factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether every pair was tried out in everything."""
        cells = len(CASES) * len(COLUMNS) + len(MEDIA_CASES) * len(MEDIA_COLUMNS)
        return len(self._outcomes) == cells

    def record(self, case: Case, column: str, *, passed: bool, notes: Iterable[str]) -> None:
        """Enter the outcome of a test, and what had to be said about it."""
        assert column in (*COLUMNS, *MEDIA_COLUMNS), column
        cell = case, column
        before = self._outcomes.get(cell, _PASSED)
        self._outcomes[cell] = before if passed else _FAILED
        self._notes.setdefault(cell, set()).update(notes)

    def render(self, server: ServerName) -> str:
        """Render the table of a server in Markdown."""
        cases = [case for case in CASES if case[0] == server]
        return self._render(["caller", "callee"], cases, COLUMNS)

    def render_media(self) -> str:
        """Render the table of audio and video in Markdown."""
        return self._render(["publisher", "subscriber"], MEDIA_CASES, MEDIA_COLUMNS)

    def _render(self, roles: list[str], cases: Sequence[Case], columns: Sequence[str]) -> str:
        rows = [
            [*roles, *columns],
            ["---", "---", *[":-:"] * len(columns)],
            *([*case[1:], *(self._text((case, each)) for each in columns)] for case in cases),
        ]
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)

    def render_notes(self) -> str:
        """Render the footnotes of all tables in Markdown."""
        used = set().union(*self._notes.values())
        notes = [f"- **{_letter(note)}**: {NOTES[note]}" for note in NOTES if note in used]
        return "\n".join(notes)

    def write(self) -> bool:
        """Write all into the page; return whether the results are others than before."""
        changed = [replace_section(f"results on {each}", self.render(each)) for each in SERVERS]
        changed.append(replace_section("audio and video", self.render_media()))
        return any([*changed, replace_section("notes", self.render_notes())])

    def _text(self, cell: Cell) -> str:
        letters = "".join(f"<sup>{_letter(note)}</sup>" for note in sorted(self._notes[cell]))
        return self._outcomes[cell] + letters


def _letter(note: str) -> str:
    return "abcdefghijklmnopq"[list(NOTES).index(note)]


def replace_section(name: str, text: str) -> bool:
    """Put a text between the markers of the page; return whether it was another before."""
    page = PAGE.read_text()
    begin, end = f"<!-- {name}: written by the tests -->\n", f"\n<!-- end of {name} -->"
    found = re.search(re.escape(begin) + "(.*?)" + re.escape(end), page, re.DOTALL)
    assert found, f"{PAGE} has no section {name}"
    PAGE.write_text(page[: found.start(1)] + text + page[found.end(1) :])
    return found[1] != text
