"""What goes wrong on a link, decided from a seed. No I/O.

Each link has a stream of random numbers of its own for each direction, and each packet draws the
same number of them. So what happens to the n-th packet in a direction depends on the seed alone,
and not on what goes on elsewhere or on which other faults there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from random import Random
from typing import Any, Final, Literal

from attrs import Attribute, field, frozen

from ..links import Channel, Frame

#: As the participant sees it: what it has sent, or what it receives.
Direction = Literal["sent", "received"]

_DATA: Final = frozenset({Channel.RELIABLE, Channel.LOSSY})


def _is_probability(_instance: object, attribute: Attribute[float], value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} is a probability from 0 to 1, not {value}")


def _is_range(
    _instance: object, attribute: Attribute[tuple[float, float]], value: tuple[float, float]
) -> None:
    low, high = value
    if not 0 <= low <= high:
        raise ValueError(f"{attribute.name} is a range of seconds from 0 up, not {value}")


def _probability() -> Any:
    return field(default=0.0, validator=_is_probability)


@frozen(kw_only=True)
class Faults:
    """What goes wrong on a link, and how often, in both directions.

    Attributes:
        seed: The same seed and the same packets make the same faults.
        delay: Seconds that a packet is under way, from and to; packets stay in order.
        drop: The probability that a packet never arrives.
        duplicate: The probability that it arrives twice.
        reorder: The probability that it is held back, so that later ones overtake it.
        reorder_delay: Seconds that it is then held back, from and to.
        channels: What this applies to: data packets, reliable and lossy ones. Signalling is spared
            unless it is named here.

    Raises:
        ValueError: a probability is not from 0 to 1, or a range of seconds not in order.
    """

    seed: int = 0
    delay: tuple[float, float] = field(default=(0.0, 0.0), validator=_is_range)
    drop: float = _probability()
    duplicate: float = _probability()
    reorder: float = _probability()
    reorder_delay: tuple[float, float] = field(default=(0.01, 0.1), validator=_is_range)
    channels: Set[Channel] = _DATA


@frozen
class PacketFate:
    """What becomes of one packet.

    Attributes:
        direction: Which way it goes.
        frame: The packet; `livekit.protocol.models.DataPacket.FromString(frame.body)` reads it.
        delays: Seconds that each copy is under way; none when it was dropped, two when it was
            duplicated.
        held_back: Seconds that the first copy is held back besides; 0 when it keeps its place.
    """

    direction: Direction
    frame: Frame
    delays: tuple[float, ...]
    held_back: float = 0.0


class FaultPlan:
    """Decides the fates of the packets of one link in one direction.

    Args:
        faults: How often what goes wrong.
        link: The number of the link among those with the same faults.
    """

    def __init__(self, faults: Faults, link: int, direction: Direction) -> None:
        self._faults = faults
        self._direction: Direction = direction
        self._random = Random(f"{faults.seed}/{link}/{direction}")

    def applies_to(self, channel: Channel) -> bool:
        """Whether what goes over a channel has a fate at all."""
        return channel in self._faults.channels

    def decide(self, frame: Frame) -> PacketFate:
        """What becomes of the next packet."""
        faults, draw = self._faults, self._random.random
        dropped, duplicated, reordered = (
            draw() < probability for probability in (faults.drop, faults.duplicate, faults.reorder)
        )
        delays = (_within(faults.delay, draw()), _within(faults.delay, draw()))
        held_back = _within(faults.reorder_delay, draw())
        if dropped:
            return PacketFate(self._direction, frame, ())
        return PacketFate(
            self._direction,
            frame,
            delays if duplicated else delays[:1],
            held_back if reordered else 0.0,
        )


def count_faults(injected: Counter[str], fate: PacketFate) -> None:
    """Count, by kind, what goes wrong with a packet."""
    injected["dropped"] += not fate.delays
    injected["delayed"] += any(fate.delays)
    injected["duplicated"] += len(fate.delays) > 1
    injected["reordered"] += fate.held_back > 0


def _within(bounds: tuple[float, float], fraction: float) -> float:
    low, high = bounds
    return low + (high - low) * fraction
