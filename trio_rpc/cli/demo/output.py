"""The output of `trio-rpc demo`."""

from __future__ import annotations

import os
import sys
from typing import Final, TextIO

from .scenes import CAST

_BOLD: Final = "1"
_DIM: Final = "2"
_RED: Final = "31"
_COLOURS: Final = {"alice": "36", "bob": "35"}
_NAME_WIDTH: Final = 15
_TEXT_WIDTH: Final = 56


class Output:
    """A writer of the play, in colours on a terminal, unless `NO_COLOR` is set."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._in_colour = self._stream.isatty() and not os.environ.get("NO_COLOR")

    def title(self, text: str) -> None:
        """Write a headline."""
        self._write(self._styled(text, _BOLD))

    def scene(self, number: int, title: str) -> None:
        """Write the headline of a scene."""
        self._write("")
        self.title(f"{number}. {title}")

    def line(self, who: str, text: str, milliseconds: float | None = None) -> None:
        """Write a line of a participant or of the server."""
        name = f"{who} ({CAST[who]})" if who in CAST else who
        name = self._styled(f"{name:<{_NAME_WIDTH}}", _COLOURS.get(who, _DIM))
        took = "" if milliseconds is None else f"{milliseconds:>6.0f} ms"
        self._write(f"   {name} {f'{text:<{_TEXT_WIDTH}}{took}'.rstrip()}")

    def failure(self, text: str) -> None:
        """Write a failure."""
        self._write(f"   {self._styled(text, _RED)}")

    def closing(self, text: str) -> None:
        """Write the summary."""
        self._write("")
        self.title(text)

    def text(self, text: str) -> None:
        """Write a plain line."""
        self._write(text)

    def _styled(self, text: str, style: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self._in_colour else text

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)
