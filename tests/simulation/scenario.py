"""The plan of a simulation: made from a seed, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Final, Literal, TypeVar

from attrs import Factory, evolve, frozen

from trio_rpc.protocol.limits import MAX_PAYLOAD_BYTES
from trio_rpc.server import ServerLimits
from trio_rpc.testing import Faults

#: What a payload may have where both sides speak RPC v2: more than one packet holds.
MAX_V2_PAYLOAD_BYTES: Final = 40_000

T = TypeVar("T")

AnswerKind = Literal[
    "return", "raise", "crash", "return a number", "return too much", "hang", "linger", "call on"
]
#: How a participant's session is disturbed.
DisturbanceKind = Literal[
    "leave",
    "disconnect",
    "be cancelled",
    "be cut off",
    "be removed",
    "be replaced",
    "stall",
    "be cut",
    "be half-open",
    "restart",
]

_ANSWERS: Final[dict[AnswerKind, int]] = {
    "return": 75,
    "raise": 8,
    "crash": 5,
    "return a number": 2,
    "return too much": 2,
    "hang": 5,
    "linger": 3,
    "call on": 10,
}
_DISTURBANCES: Final[dict[DisturbanceKind, int]] = {
    "leave": 4,
    "disconnect": 2,
    "be cancelled": 3,
    "be cut off": 6,
    "be removed": 2,
    "be replaced": 3,
    "stall": 4,
}
_FAULTS: Final = (
    Faults(),
    Faults(delay=(0.001, 0.03)),
    Faults(delay=(0.0, 0.05), drop=0.03),
    Faults(delay=(0.0, 0.02), duplicate=0.2, reorder=0.1),
    Faults(delay=(0.0, 0.1), drop=0.01, duplicate=0.05, reorder=0.05),
    Faults(duplicate=0.5, reorder=0.3, reorder_delay=(0.0, 0.2)),
)
_CALLS_PER_SECOND: Final = 40
_DISTURBANCES_PER_SECOND: Final = 0.7


@frozen
class Profile:
    """A participant.

    Attributes:
        faults: What goes wrong on its link.
        speaks_v2: Whether it announces RPC v2.
        max_concurrent_handlers: How many calls it answers at the same time.
        max_round_trip_latency: Seconds in which its calls must be acknowledged.
        limits: What else its `Room` takes as limits.
        reconnects: Whether it opens a lost connection again.
        is_direct: Whether nothing is between it and the server, so that nothing can go wrong there.
        is_hostile: Whether it is an adversary, who has no `Room`.
    """

    identity: str
    faults: Faults
    speaks_v2: bool
    max_concurrent_handlers: int
    max_round_trip_latency: float
    limits: Mapping[str, int] = Factory(dict[str, int])
    reconnects: bool = False
    is_direct: bool = False
    is_hostile: bool = False

    @property
    def understands_cancellation(self) -> bool:
        """Whether it announces that it does."""
        return self.speaks_v2 or self.reconnects

    @property
    def longest_delay(self) -> float:
        """The most seconds that a packet is in flight on its link."""
        held_back = self.faults.reorder_delay[1] if self.faults.reorder else 0.0
        return self.faults.delay[1] + held_back


@frozen
class Answer:
    """The plan of a handler: its outcome after some seconds.

    Attributes:
        call: Whom it calls before it answers.
    """

    kind: AnswerKind
    seconds: float
    call: Call | None = None


@frozen
class Call:
    """A call, and what is to become of it.

    Attributes:
        at: When it is made; nested ones are made by handlers.
        padding: How much the payload and its echo have besides the number, in bytes.
        cancel_after: Seconds after which the caller loses patience.
        waits_for_connection: Whether the caller waits while there is no connection.
    """

    number: int
    at: float
    caller: str
    callee: str
    method: str
    padding: int
    response_timeout: float
    cancel_after: float | None
    answer: Answer
    waits_for_connection: bool = True

    @property
    def payload(self) -> str:
        """The payload of the request."""
        return self._text("payload", self.padding)

    @property
    def echo(self) -> str:
        """The payload of the response, if there is one."""
        return self._text("echo", self.padding)

    @property
    def error_code(self) -> int:
        """The code of the error that the handler raises, if it does."""
        return 2000 + self.number

    def _text(self, kind: str, padding: int) -> str:
        # Hexadecimal, which deflate makes half of
        noise = Random(f"{kind} {self.number}").randbytes(padding // 2).hex()
        return json.dumps({kind: self.number, "padding": noise})


@frozen
class Disturbance:
    """Something that happens to a participant.

    Attributes:
        seconds: How long it is away, its link stalls, or its network is down.
    """

    at: float
    identity: str
    kind: DisturbanceKind
    seconds: float


@frozen
class Scenario:
    """The plan of a simulation, in order."""

    seed: int
    profiles: tuple[Profile, ...]
    calls: tuple[Call, ...]
    disturbances: tuple[Disturbance, ...]
    server_limits: ServerLimits = Factory(ServerLimits)


def make_scenario(seed: int, calls: int) -> Scenario:
    """Make the scenario of a seed.

    Args:
        calls: How many calls are made, the nested ones not counted.
    """
    random = Random(seed)
    profiles = tuple(make_profile(random, seed, number) for number in range(6))
    identities = [profile.identity for profile in profiles]
    seconds = calls / _CALLS_PER_SECOND
    moments = sorted(random.uniform(1, 1 + seconds) for _ in range(calls))
    made = tuple(
        make_call(random, identities, number, at, nested_number=calls + number)
        for number, at in enumerate(moments)
    )
    disturbances = [
        Disturbance(
            at=random.uniform(1, 1 + seconds),
            identity=random.choice(identities),
            kind=choose(random, _DISTURBANCES),
            seconds=random.choice((0.0, 0.05, 0.5, 3.0)),
        )
        for _ in range(int(seconds * _DISTURBANCES_PER_SECOND))
    ]
    disturbances = [
        evolve(each, seconds=random.choice((0.2, 1.0, 4.0, 18.0))) if each.kind == "stall" else each
        for each in disturbances
    ]
    return Scenario(seed, profiles, made, tuple(sorted(disturbances, key=lambda each: each.at)))


def make_profile(random: Random, seed: int, number: int) -> Profile:
    """Return an honest participant, whatever its link is like."""
    return Profile(
        identity=f"p{number}",
        faults=evolve(random.choice(_FAULTS), seed=seed * 10 + number),
        speaks_v2=random.random() < 0.6,
        max_concurrent_handlers=random.choice((1000, 1000, 1000, 3)),
        max_round_trip_latency=random.choice((1.0, 7.0)),
    )


def make_call(
    random: Random, identities: list[str], number: int, at: float, *, nested_number: int | None
) -> Call:
    """Return a call among some participants.

    Args:
        identities: At least three, from whom caller and callee are chosen.
        nested_number: The number of the call that its handler makes, if that makes one.
    """
    caller, callee, third = random.sample(identities, 3)
    kind = choose(random, _ANSWERS)
    nested: Call | None = None
    if kind == "call on" and nested_number is not None:
        nested = evolve(
            make_call(random, [callee, third, caller], nested_number, at, nested_number=None),
            caller=callee,
            callee=third,
        )
    elif kind == "call on":
        kind = "return"
    return Call(
        number=number,
        at=at,
        caller=caller,
        callee=callee if random.random() < 0.98 else "nobody",
        method="do" if random.random() < 0.98 else "do not",
        padding=choose(
            random, {0: 70, 3_000: 15, 14_000: 6, MAX_PAYLOAD_BYTES: 2, 38_000: 6, 41_000: 1}
        ),
        response_timeout=random.choice((0.05, 0.5, 2.0, 2.0, 5.0, 5.0, 10.0, 10.0)),
        cancel_after=random.uniform(0, 1) if random.random() < 0.08 else None,
        answer=Answer(kind, random.choice((0.0, 0.0, 0.01, 0.2, 1.0)), nested),
    )


def choose(random: Random, weights: Mapping[T, int]) -> T:
    """Return one of the keys, the likelier the more it weighs."""
    (chosen,) = random.choices([*weights], [*weights.values()])
    return chosen
