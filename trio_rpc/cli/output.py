"""What the commands write: results on stdout, and progress on stderr where somebody looks at it."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final

_BAR_WIDTH: Final = 30
#: Seconds between two drawings of a progress bar.
_REDRAW_INTERVAL: Final = 0.1


def one_line(text: str) -> str:
    """`text` in one line that can't control a terminal, whoever has written it."""
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def write_line(text: str) -> None:
    """Write a line to stdout at once, in UTF-8, as others may wait for it in a pipe."""
    sys.stdout.buffer.write(text.encode("utf-8", "replace") + b"\n")
    sys.stdout.buffer.flush()


def note(text: str) -> None:
    """Write a line to stderr, about what goes on."""
    print(one_line(text), file=sys.stderr, flush=True)


class ProgressBar:
    """How far something has come, drawn on stderr if that is a terminal, and erased at the end."""

    def __init__(self, what: str) -> None:
        self._what = one_line(what)
        self._visible = sys.stderr.isatty()
        self._drawn_at = -_REDRAW_INTERVAL

    def update(self, done: int, total: int) -> None:
        """So much of it is done."""
        now = time.monotonic()
        if not self._visible or (done < total and now - self._drawn_at < _REDRAW_INTERVAL):
            return
        self._drawn_at = now
        filled = _BAR_WIDTH * done // max(total, 1)
        bar = "#" * filled + "." * (_BAR_WIDTH - filled)
        self._write(f"\r\033[K{self._what} [{bar}] {done:,} of {total:,}")

    def erase(self) -> None:
        """Make way for a line of text."""
        if self._visible:
            self._write("\r\033[K")

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.erase()

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
