"""The faults of a link, decided from a seed. No I/O.

Each link has a stream of random numbers of its own for each direction, and each packet draws the
same number of them. So the fate of the n-th packet in a direction depends on the seed alone, and
not on other packets or on the other faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from random import Random
from typing import Any, Final, Literal

from attrs import Attribute, field, frozen

from ..links import Channel, Frame

#: The direction of a packet, as the participant sees it.
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
    """The faults of a link in both directions, and their probabilities.

    Attributes:
        seed: The same seed and the same packets make the same faults.
        delay: Seconds that a packet is in flight, at least and at most; packets stay in order.
        drop: The probability that a packet never arrives.
        duplicate: The probability that a packet arrives twice.
        reorder: The probability that a packet is held back, so that later ones overtake it.
        reorder_delay: Seconds that such a packet is held back, at least and at most.
        channels: The channels with faults; by default, reliable and lossy data packets, and not
            signalling.

    Raises:
        ValueError: a probability is not from 0 to 1, or a range of seconds is not in order.
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
    """The fate of one packet.

    Attributes:
        direction: The direction of the packet.
        frame: The packet; `livekit.protocol.models.DataPacket.FromString(frame.body)` parses it.
        delays: Seconds that each copy is in flight: none if the packet is dropped, two if it is
            duplicated.
        held_back: Further seconds that the first copy is held back; 0 if it keeps its place.
    """

    direction: Direction
    frame: Frame
    delays: tuple[float, ...]
    held_back: float = 0.0


class FaultPlan:
    """The fates of the packets of one link in one direction.

    Args:
        faults: The probabilities of faults.
        link: The number of the link among those with the same faults.
    """

    def __init__(self, faults: Faults, link: int, direction: Direction) -> None:
        self._faults = faults
        self._direction: Direction = direction
        self._random = Random(f"{faults.seed}/{link}/{direction}")

    def applies_to(self, channel: Channel) -> bool:
        """Whether packets of a channel have faults."""
        return channel in self._faults.channels

    def decide(self, frame: Frame) -> PacketFate:
        """Decide the fate of the next packet."""
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
    """Count the faults of a packet by kind."""
    injected["dropped"] += not fate.delays
    injected["delayed"] += any(fate.delays)
    injected["duplicated"] += len(fate.delays) > 1
    injected["reordered"] += fate.held_back > 0


def _within(bounds: tuple[float, float], fraction: float) -> float:
    low, high = bounds
    return low + (high - low) * fraction
