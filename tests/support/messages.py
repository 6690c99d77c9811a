"""Messages of a server to a participant: making them, and what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from livekit.protocol import models, rtc

Message: TypeAlias = models.DataPacket | rtc.SignalResponse


def packets(messages: Iterable[Message]) -> list[models.DataPacket]:
    return [message for message in messages if isinstance(message, models.DataPacket)]


def signals(messages: Iterable[Message]) -> list[rtc.SignalResponse]:
    return [message for message in messages if isinstance(message, rtc.SignalResponse)]


def updates(messages: Iterable[Message]) -> list[models.ParticipantInfo]:
    """Return the participants in updates, in order."""
    return [info for signal in signals(messages) for info in signal.update.participants]


def told(messages: Iterable[Message]) -> list[tuple[str, str]]:
    """Return the participants in updates as pairs of identity and state."""
    state = models.ParticipantInfo.State
    return [(info.identity, state.Name(info.state)) for info in updates(messages)]


def leave_reasons(messages: Iterable[Message]) -> list[str]:
    """Return the reasons in the `LeaveRequest`s that the server sent."""
    return [
        models.DisconnectReason.Name(signal.leave.reason)
        for signal in signals(messages)
        if signal.HasField("leave")
    ]


def user(text: str, *destinations: str) -> models.DataPacket:
    """Return a packet of user data."""
    return models.DataPacket(
        destination_identities=destinations, user=models.UserPacket(payload=text.encode())
    )


def texts(messages: Iterable[Message]) -> list[str]:
    """Return the texts of packets that `user` made."""
    return [packet.user.payload.decode() for packet in packets(messages)]


def request(*destinations: str, request_id: str = "1") -> models.DataPacket:
    """Return the packet of a call of the method `echo`."""
    return models.DataPacket(
        destination_identities=destinations,
        rpc_request=models.RpcRequest(
            id=request_id, method="echo", payload="hi", response_timeout_ms=5000, version=1
        ),
    )
