"""The inputs that are kept, and which of those that were found are worth keeping."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeAlias

import trio_rpc

from .player import Player
from .target import Target

FOLDER: Final = Path(__file__).with_name("corpus")
#: Bytes that a kept input may have, and how many of a target are kept.
MAX_KEPT_BYTES: Final = 2_048
MAX_KEPT: Final = 24
_PACKAGE: Final = str(Path(trio_rpc.__file__).parent)

#: A line of the package, and the one that was run before it in the same function.
_Arc: TypeAlias = tuple[str, int, int]


def inputs_of(target: Target) -> list[Path]:
    """Return the files of the inputs that are kept for a target."""
    return sorted((FOLDER / target.name).glob("*"))


def name_of(data: bytes) -> str:
    """Return the name of the file of an input."""
    return hashlib.sha256(data).hexdigest()[:12]


def keep_new(target: Target, found: Path) -> int:
    """Add to the corpus what was found and runs code that nothing in it does.

    Returns:
        How many inputs were added.
    """
    kept = [path.read_bytes() for path in inputs_of(target)]
    candidates = {path.read_bytes() for path in found.glob("*")} - {*kept}
    small = sorted((each for each in candidates if len(each) <= MAX_KEPT_BYTES), key=len)
    known: set[_Arc] = set()
    new: list[bytes] = []
    with _tracing() as reached, Player(target) as player:
        for data in (*kept, *small):
            reached.clear()
            try:
                player.play(data)
            except Exception:
                # A failure is no example of what goes well.
                continue
            if reached - known and data not in kept and len(kept) + len(new) < MAX_KEPT:
                new.append(data)
            known |= reached
    folder = FOLDER / target.name
    folder.mkdir(parents=True, exist_ok=True)
    for data in new:
        (folder / name_of(data)).write_bytes(data)
    return len(new)


@contextmanager
def _tracing() -> Iterator[set[_Arc]]:
    """Collect what of the package is run, in this thread and in those that it starts."""
    reached: set[_Arc] = set()

    def on_call(frame: FrameType, _event: str, _argument: object) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE):
            return None
        last = 0

        def on_line(frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal last
            if event == "line":
                reached.add((file, last, frame.f_lineno))
                last = frame.f_lineno
            return on_line

        return on_line

    before = sys.gettrace()
    threading.settrace(on_call)
    sys.settrace(on_call)
    try:
        yield reached
    finally:
        sys.settrace(before)
        threading.settrace(before)
