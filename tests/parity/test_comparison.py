"""The comparison with LiveKit's Python SDK, on modules made for it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from .comparison import missing_in


def module(**members: Any) -> ModuleType:
    made = ModuleType("made")
    made.__dict__.update(members, __all__=[*members])
    return made


class Theirs:
    def __init__(self, loop: object = None) -> None: ...

    def kept(self, one: int, *rest: int, two: int = 2, **more: int) -> None: ...

    def gone(self) -> None: ...

    @property
    def value(self) -> int:
        return 1

    def _private(self) -> None: ...


class Ours:
    def kept(self, one: int) -> None: ...


def test_what_is_missing_is_named() -> None:
    ours, theirs = module(Room=Ours, other=1), module(Room=Theirs, Track=Theirs, other=2)
    assert [*missing_in(ours, theirs, ())] == [
        "Room.__init__(loop)",
        "Room.gone",
        "Room.kept(two)",
        "Room.value",
        "Track",
    ]


def test_what_is_allowed_is_not() -> None:
    ours, theirs = module(Room=Ours), module(Room=Theirs, Track=Theirs)
    allowed = {"Track", "Room.__init__", "Room.gone", "Room.kept(two)", "Room.value"}
    assert [*missing_in(ours, theirs, allowed)] == []
