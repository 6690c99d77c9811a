"""The scenario with adversaries: all of it from a seed."""

from __future__ import annotations

from collections.abc import Collection
from random import Random
from typing import Final

from attrs import evolve, frozen

from trio_rpc.server import ServerLimits
from trio_rpc.testing import Faults

from ..scenario import (
    Call,
    Disturbance,
    DisturbanceKind,
    Profile,
    Scenario,
    choose,
    make_call,
    make_profile,
)
from .answers import ANSWERS
from .moves import HEAVY, LONG, MOVES, RARE

#: Calls of honest participants in a second.
_CALLS_PER_SECOND: Final = 100
#: One move for so many calls, until all were played, and from then on.
_CALLS_PER_MOVE: Final = 20
_CALLS_PER_FURTHER_MOVE: Final = 60
#: What the name of an answer has before it in a list of moves.
ANSWER_PREFIX: Final = "answer: "
#: In a list of moves, the calls of the server's own.
SERVER_CALLS: Final = "server calls"
#: All moves of adversaries.
ALL_MOVES: Final = (*MOVES, *(f"{ANSWER_PREFIX}{name}" for name in ANSWERS), SERVER_CALLS)
#: How often a move is dealt for each time that a heavy one is.
_LIGHT: Final = 4
#: Moments are multiples of this many seconds, so that many things happen at the same one.
_TICK: Final = 0.02
#: How many of the honest ones have links on which nothing goes wrong.
_DIRECT: Final = 5

_DISTURBANCES: Final[dict[DisturbanceKind, int]] = {
    "leave": 4,
    "disconnect": 2,
    "be cancelled": 3,
    "be cut off": 3,
    "be removed": 2,
    "be replaced": 3,
    "stall": 2,
}
_PADDINGS: Final = {0: 90, 3_000: 5, 14_000: 2, 38_000: 3}


@frozen
class Adversary:
    """A hostile participant.

    Attributes:
        grants: What its token allows besides joining.
    """

    profile: Profile
    grants: dict[str, bool]

    @property
    def may_send(self) -> bool:
        """Whether what it sends may reach anybody."""
        return not self.grants.get("hidden") and self.grants.get("can_publish_data", True)


@frozen
class PlannedMove:
    """A move that is to be played.

    Attributes:
        seed: For all that the move leaves to chance.
    """

    at: float
    identity: str
    name: str
    seed: int


@frozen
class HostileScenario(Scenario):
    """A scenario with adversaries in it, who are among the profiles as well.

    Attributes:
        answers: How they may answer calls.
        has_server_calls: Whether the server makes calls of its own.
    """

    adversaries: tuple[Adversary, ...] = ()
    moves: tuple[PlannedMove, ...] = ()
    answers: tuple[str, ...] = ()
    has_server_calls: bool = True

    @property
    def may_send(self) -> dict[str, bool]:
        """Whether what an adversary sends may reach anybody, by its identity."""
        return {each.profile.identity: each.may_send for each in self.adversaries}


def make_hostile_scenario(
    seed: int, calls: int, moves: Collection[str] | None = None
) -> HostileScenario:
    """Return the scenario of a seed.

    Args:
        calls: How many calls honest participants make, the nested ones not counted.
        moves: Which moves are played, and with `answer: ` before them, which answers are given
            instead of proper ones; also `SERVER_CALLS`. All unless given.
    """
    chosen = ALL_MOVES if moves is None else tuple(moves)
    if unknown := set(chosen) - set(ALL_MOVES):
        raise ValueError(f"there are no such moves: {unknown}")
    answers = [name for name in ANSWERS if f"{ANSWER_PREFIX}{name}" in chosen]
    random = Random(f"hostile {seed}")
    is_small = random.random() < 0.7
    honest = [_make_honest(random, seed, number, is_small) for number in range(7)]
    adversaries = [_make_adversary(random, number) for number in range(5)]
    identities = [profile.identity for profile in honest]
    hostile = [each.profile.identity for each in adversaries if not each.grants.get("hidden")]
    seconds = calls / _CALLS_PER_SECOND
    moments = sorted(_moment(random, seconds) for _ in range(calls))
    made = tuple(
        _redirect(
            random, make_call(random, identities, number, at, nested_number=calls + number), hostile
        )
        for number, at in enumerate(moments)
    )
    return HostileScenario(
        seed=seed,
        profiles=(*honest, *(each.profile for each in adversaries)),
        calls=made,
        disturbances=_make_disturbances(random, identities[_DIRECT:], seconds),
        server_limits=_make_server_limits(random, is_small),
        adversaries=tuple(adversaries),
        moves=_deal(
            random, adversaries, calls, seconds, [each for each in MOVES if each in chosen]
        ),
        answers=tuple(answers or list(ANSWERS)[:1]),
        has_server_calls=SERVER_CALLS in chosen,
    )


def _moment(random: Random, seconds: float) -> float:
    return 1 + round(random.uniform(0, seconds) / _TICK) * _TICK


# Participants


def _make_honest(random: Random, seed: int, number: int, is_small: bool) -> Profile:
    profile = make_profile(random, seed, number)
    limits = _SMALL_LIMITS if is_small and number % 2 else {}
    # One of them runs few handlers at a time.
    handlers = 8 if number == 1 else 1000
    profile = evolve(profile, limits=limits, max_concurrent_handlers=handlers)
    if number < _DIRECT:
        return evolve(profile, is_direct=True, faults=Faults())
    return profile


_SMALL_LIMITS: Final = {
    "max_stream_bytes": 256 * 1024,
    "max_peer_bytes": 1024 * 1024,
    "max_peers_bytes": 16 * 1024 * 1024,
    "max_peer_streams": 30,
    "max_streams": 600,
    "max_waiting_requests": 100,
}


def _make_adversary(random: Random, number: int) -> Adversary:
    grants = {"can_update_own_metadata": True}
    if number == 3:
        grants["can_publish_data"] = False
    if number == 4:
        grants["hidden"] = True
    profile = Profile(
        identity=f"h{number}",
        faults=Faults(),
        speaks_v2=random.random() < 0.7,
        max_concurrent_handlers=1000,
        max_round_trip_latency=7.0,
        is_hostile=True,
    )
    return Adversary(profile, grants)


def _make_server_limits(random: Random, is_small: bool) -> ServerLimits:
    if not is_small:
        return ServerLimits(read_timeout=5.0)
    return ServerLimits(
        max_queue_bytes=512 * 1024,
        max_message_bytes=128 * 1024,
        max_malformed=random.choice((20, 100)),
        read_timeout=5.0,
    )


# Moves


def _redirect(random: Random, call: Call, hostile: list[str]) -> Call:
    """Have some calls, and some that their handlers make, go to adversaries."""
    nested = call.answer.call
    if nested is not None and random.random() < 0.2:
        nested = evolve(nested, callee=random.choice(hostile), padding=0)
    callee = random.choice(hostile) if random.random() < 0.12 else call.callee
    padding = choose(random, _PADDINGS)
    return evolve(
        call,
        callee=callee,
        # A large one to a participant that does not read waits, and so do its caller's others (B8).
        padding=min(padding, 3_000) if callee in hostile else padding,
        answer=evolve(call.answer, call=nested),
    )


def _make_disturbances(
    random: Random, identities: list[str], seconds: float
) -> tuple[Disturbance, ...]:
    disturbances = [
        Disturbance(
            at=_moment(random, seconds),
            identity=random.choice(identities),
            kind=choose(random, _DISTURBANCES),
            seconds=random.choice((0.0, 0.05, 0.5, 3.0)),
        )
        for _ in range(int(seconds * 0.5))
    ]
    return tuple(sorted(disturbances, key=lambda each: each.at))


def _deal(
    random: Random,
    adversaries: list[Adversary],
    calls: int,
    seconds: float,
    names: list[str],
) -> tuple[PlannedMove, ...]:
    """Deal the moves like cards, so that each is played before one comes too often."""
    # All of them first, from then on what costs little more often.
    deck, dealt = list(names), list[str]()
    if not names:
        return ()
    random.shuffle(deck)
    again = [
        name
        for name in names
        for _ in range(1 if name in HEAVY else _LIGHT)
        if name not in RARE or len(names) == 1
    ]
    first = min(calls // _CALLS_PER_MOVE, len(names))
    further = (calls - first * _CALLS_PER_MOVE) // _CALLS_PER_FURTHER_MOVE
    for _ in range(max(first + further, 1)):
        if not deck:
            deck = list(again)
            random.shuffle(deck)
        dealt.append(deck.pop())
    able = [each.profile.identity for each in adversaries if each.may_send]
    unable = [each.profile.identity for each in adversaries if not each.may_send]
    # Who may not send tries some of them too.
    players = [(name, random.choice(able)) for name in dealt]
    players += [(name, random.choice(unable)) for name in dealt if random.random() < 0.15]
    moves = [
        # What takes long begins early, or a short run would end before it does.
        PlannedMove(
            _moment(random, seconds * (0.4 if name in LONG else 1)),
            identity,
            name,
            random.getrandbits(32),
        )
        for name, identity in players
    ]
    return tuple(sorted(moves, key=lambda move: move.at))
