"""The base class of events, which have LiveKit's names."""

from __future__ import annotations

import re
from typing import ClassVar, Final

_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class RoomEvent:
    """The base class of all events."""

    #: LiveKit's name of the event, as `Room.on` takes it.
    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.name = _WORDS.sub("_", cls.__name__).lower()
