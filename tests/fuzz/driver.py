"""One target under atheris, in a process of its own: `python -m tests.fuzz` starts it.

libFuzzer ends a process at its first failure. Here each new one is written to a file and shown, and
the fuzzing goes on: one bug does not hide the next.
"""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import atheris

from .target import PropertyError, Target

#: What is instrumented, besides ours: what takes the bytes first.
_PACKAGES: Final = ["trio_rpc", "h11", "websockets", "wsproto", "jwt"]
_ROOT: Final = str(Path(__file__).parents[2])
#: The line that is written for a failure; the command line looks for it.
FAILURE: Final = "FAILURE"


def main() -> None:
    """Fuzz the target that is named first; the rest is libFuzzer's."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.driver")
    parser.add_argument("target")
    parser.add_argument("failures", type=Path)
    options, arguments = parser.parse_known_args()
    with atheris.instrument_imports(include=_PACKAGES):
        from .player import Player
        from .targets import TARGETS

        target = TARGETS[options.target]
        player = Player(target)
        if not target.runs_at_once:
            target.load_arena()
    failures = _Failures(target, options.failures)

    def try_input(data: bytes) -> None:
        try:
            player.play(data)
        except BaseException as error:
            failures.add(data, error, Player)

    player.__enter__()
    atheris.Setup([sys.argv[0], *arguments, f"-max_len={target.max_bytes}"], try_input)
    atheris.Fuzz()


class _Failures:
    """The failures of a target that were seen so far, each reported once."""

    def __init__(self, target: Target, folder: Path) -> None:
        self._target = target
        self._folder = folder
        self._seen: set[str] = set()

    def add(self, data: bytes, error: BaseException, player_class: Any) -> None:
        signature = " | ".join(sorted({*_signatures(error)}))
        if signature in self._seen:
            return
        self._seen.add(signature)
        path = self._folder / f"failure-{len(self._seen)}"
        path.write_bytes(data)
        try:
            with player_class(self._target) as player:
                player.play(data)
        except BaseException:
            alone = "also alone"
        else:
            alone = "not alone: only after others"
        sys.stderr.write(f"{FAILURE} {path} ({alone})\n  {signature}\n")
        sys.stderr.write("".join(traceback.format_exception(error)))
        sys.stderr.flush()


def _signatures(error: BaseException) -> Iterator[str]:
    """Tell one failure from another: by type and place, or by text where a property says it."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _signatures(each)
    elif isinstance(error, PropertyError):
        yield re.sub(r"[0-9a-fx]{2,}|\d", "#", str(error))[-200:]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if frame.filename.startswith(_ROOT)]
        place = f"{ours[-1].filename}:{ours[-1].lineno}" if ours else "somewhere"
        yield f"{type(error).__name__} at {place.removeprefix(_ROOT)}"


if __name__ == "__main__":
    main()
