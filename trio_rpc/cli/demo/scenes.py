"""The scenes of `trio-rpc demo`: calls, and the reports of their participants.

The participants play from this table, and the demo compares their reports with it.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

ROOM: Final = "demo"

#: The participants, and the event loop that each runs on.
CAST: Final = {"alice": "trio", "bob": "asyncio"}


@frozen
class Scene:
    """One call.

    Attributes:
        title: The headline.
        caller: The identity of the caller; the other participant is the callee.
        method, payload: The method and its argument.
        expected: The reports, as identity and text, in order for each participant.
        response_timeout: Seconds that the call may take.
    """

    title: str
    caller: str
    method: str
    payload: str
    expected: tuple[tuple[str, str], ...]
    response_timeout: float = 10.0

    @property
    def callee(self) -> str:
        """The identity of the callee."""
        return next(identity for identity in CAST if identity != self.caller)


SCENES: Final = (
    Scene(
        "A greeting",
        "alice",
        "greet",
        "Good morning!",
        (
            ("alice", "calls bob: greet('Good morning!')"),
            ("bob", "greet answers 'Good morning, alice!'"),
            ("alice", "gets 'Good morning, alice!'"),
        ),
    ),
    Scene(
        "A calculation in JSON, the other way round",
        "bob",
        "multiply",
        '{"factors": [6, 7]}',
        (
            ("bob", """calls alice: multiply('{"factors": [6, 7]}')"""),
            ("alice", """multiply answers '{"product": 42}'"""),
            ("bob", """gets '{"product": 42}'"""),
        ),
    ),
    Scene(
        "A call during a call",
        "alice",
        "book",
        "2 seats",
        (
            ("alice", "calls bob: book('2 seats')"),
            ("bob", "calls alice: confirm('2 seats for 30 euros?')"),
            ("alice", "confirm answers 'yes'"),
            ("bob", "gets 'yes'"),
            ("bob", "book answers 'booked: 2 seats'"),
            ("alice", "gets 'booked: 2 seats'"),
        ),
    ),
    Scene(
        "An error of the application's own, with data",
        "alice",
        "pay",
        "100 euros",
        (
            ("alice", "calls bob: pay('100 euros')"),
            ("bob", """pay raises 402 Not enough money, data {"missing": 70}"""),
            ("alice", """gets error 402 Not enough money, data {"missing": 70}"""),
        ),
    ),
    Scene(
        "A method that nobody has registered",
        "bob",
        "fly",
        "to the moon",
        (
            ("bob", "calls alice: fly('to the moon')"),
            ("bob", "gets error 1400 Method not supported at destination"),
        ),
    ),
    Scene(
        "A timeout of half a second, which cancels the handler too",
        "alice",
        "think",
        "for an hour",
        (
            ("alice", "calls bob: think('for an hour')"),
            ("bob", "think is cancelled"),
            ("alice", "gets error 1502 Response timeout"),
        ),
        response_timeout=0.5,
    ),
    Scene(
        "A connection that is lost during a call, which gets its answer",
        "alice",
        "endure",
        "a bad network",
        (
            ("alice", "calls bob: endure('a bad network')"),
            ("bob", "loses the connection"),
            ("bob", "has another one, and is in the same session"),
            ("bob", "endure answers 'still here'"),
            ("alice", "gets 'still here'"),
        ),
    ),
    Scene(
        "A participant who leaves during a call",
        "alice",
        "leave",
        "now",
        (
            ("alice", "calls bob: leave('now')"),
            ("bob", "leaves the room"),
            ("bob", "leave is cancelled"),
            ("alice", "gets error 1503 Recipient disconnected"),
        ),
    ),
)
