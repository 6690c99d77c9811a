"""Broken variants of surviving the network, each of which the simulation finds.

Of a model with 20,795 packets and 1,468 cuts, each lost or repeated some hundreds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import pytest
from livekit.protocol import models

from trio_rpc.protocol.answered_requests import AnsweredRequests
from trio_rpc.protocol.retained import RetainedPackets
from trio_rpc.rpc.repeated_requests import RepeatedRequests
from trio_rpc.server.rooms import detached
from trio_rpc.server.rooms.publisher import ServerPublisher

from .checker import ViolationError
from .run import simulate_outages

_RUNS: Final = 20
_CALLS: Final = 300


def replay_listed_publishers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_had(packet: models.DataPacket, had: Mapping[str, int]) -> bool:
        return packet.sequence <= had.get(packet.participant_sid, packet.sequence)

    monkeypatch.setattr(detached, "_is_had", is_had)


def give_packets_of_the_server_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerPublisher, "number", lambda _publisher, _packet: None)


def retain_the_last_eight_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    add = RetainedPackets.add

    def add_and_drop(retained: RetainedPackets, message: bytes, packets: int) -> None:
        add(retained, message, packets)
        if (dropped := len(retained) - 8) > 0:
            retained.on_arrived(retained._dropped + dropped)

    monkeypatch.setattr(RetainedPackets, "add", add_and_drop)


def keep_no_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnsweredRequests, "has", lambda *_: False)


def run_ids_of_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RepeatedRequests, "refusal_of", lambda *_: None)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "mutate",
    [
        replay_listed_publishers_alone,
        give_packets_of_the_server_no_number,
        retain_the_last_eight_packets,
        keep_no_outcomes,
        run_ids_of_another_process,
    ],
)
def test_a_broken_variant_is_found(
    mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    with pytest.raises(ViolationError):
        _simulate()


def _simulate() -> None:
    for seed in range(_RUNS):
        simulate_outages(seed, _CALLS)
