"""The plan of a simulation with outages: made from a seed, and nothing else."""

from __future__ import annotations

from random import Random
from typing import Final

from attrs import evolve, frozen

from trio_rpc.testing import Faults

from ..scenario import (
    Call,
    Disturbance,
    DisturbanceKind,
    Profile,
    Scenario,
    choose,
    make_call,
)

#: Links that lose nothing while they are up, as those of TCP.
_FAULTS: Final = (Faults(), Faults(delay=(0.001, 0.03)), Faults(delay=(0.0, 0.1)))
#: The weights of what happens, and for how long the network is down then.
_DISTURBANCES: Final[dict[tuple[DisturbanceKind, tuple[float, ...]], int]] = {
    ("be cut", (0.0, 0.0, 0.0, 0.5, 0.5, 2.0, 6.0)): 100,
    ("be half-open", (0.0, 0.0, 17.0)): 16,
    ("be cut", (25.0,)): 4,
    ("restart", (0.0, 0.5, 2.0)): 8,
    ("leave", (0.0, 0.5)): 2,
    ("be cancelled", (0.0, 0.5)): 2,
    ("be removed", (0.0, 0.5)): 2,
    ("be replaced", (0.0,)): 2,
}
_CALLS_PER_SECOND: Final = 20
_DISTURBANCES_PER_SECOND: Final = 0.6
_STREAMS_PER_SECOND: Final = 0.5
_SERVER_RESTARTS_PER_SECOND: Final = 0.03


@frozen
class StreamPlan:
    """A text that one participant streams to another.

    Attributes:
        pieces: The number of pieces that are written, with a pause of `pause` seconds after each.
    """

    number: int
    at: float
    sender: str
    receiver: str
    pieces: int
    pause: float

    def piece(self, number: int) -> str:
        """Return a piece of the text."""
        return f"{self.number}:{number} "

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(map(self.piece, range(self.pieces)))


@frozen
class OutageScenario(Scenario):
    """A scenario with outages.

    Attributes:
        streams: The streams, in order.
        server_restarts: The times at which the server is restarted.
    """

    streams: tuple[StreamPlan, ...] = ()
    server_restarts: tuple[float, ...] = ()


def make_outage_scenario(seed: int, calls: int) -> OutageScenario:
    """Make the scenario of a seed.

    Args:
        calls: The number of calls, without nested ones.
    """
    random = Random(f"outages {seed}")
    profiles = tuple(_make_profile(random, seed, number) for number in range(6))
    identities = [profile.identity for profile in profiles]
    seconds = calls / _CALLS_PER_SECOND

    def moments(count: float) -> list[float]:
        return sorted(random.uniform(1, 1 + seconds) for _ in range(int(count)))

    return OutageScenario(
        seed,
        profiles,
        tuple(
            _make_call(random, identities, number, at, nested_number=calls + number)
            for number, at in enumerate(moments(calls))
        ),
        tuple(
            _make_disturbance(random, identities, at)
            for at in moments(seconds * _DISTURBANCES_PER_SECOND)
        ),
        streams=tuple(
            _make_stream(random, identities, number, at)
            for number, at in enumerate(moments(seconds * _STREAMS_PER_SECOND))
        ),
        server_restarts=tuple(moments(seconds * _SERVER_RESTARTS_PER_SECOND)),
    )


def _make_profile(random: Random, seed: int, number: int) -> Profile:
    return Profile(
        identity=f"p{number}",
        faults=evolve(random.choice(_FAULTS), seed=seed * 10 + number),
        speaks_v2=random.random() < 0.7,
        max_concurrent_handlers=1000,
        max_round_trip_latency=random.choice((7.0, 7.0, 60.0)),
        reconnects=True,
    )


def _make_call(
    random: Random, identities: list[str], number: int, at: float, *, nested_number: int
) -> Call:
    call = make_call(random, identities, number, at, nested_number=nested_number)
    return evolve(
        call,
        response_timeout=random.choice((2.0, 5.0, 10.0, 10.0, 20.0, 30.0)),
        waits_for_connection=random.random() < 0.95,
    )


def _make_disturbance(random: Random, identities: list[str], at: float) -> Disturbance:
    kind, durations = choose(random, _DISTURBANCES)
    return Disturbance(at, random.choice(identities), kind, random.choice(durations))


def _make_stream(random: Random, identities: list[str], number: int, at: float) -> StreamPlan:
    sender, receiver = random.sample(identities, 2)
    return StreamPlan(
        number, at, sender, receiver, random.choice((3, 10, 40)), random.choice((0.0, 0.1, 0.3))
    )
