"""Joining a room: our request, and the server's response."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Final

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from ..errors import ConnectError, DisconnectReason
from ..links import Channel, Frame, Link, LinkClosedError
from ..protocol.capabilities import CAN_RESUME, CAPABILITIES, CLIENT_PROTOCOL

#: Reading the metadata of a package takes milliseconds.
_version: Final = cache(version)


def join_request(
    *, resumes: bool, last_sid: str = "", auto_subscribe: bool = False
) -> rtc.JoinRequest:
    """Return the request to join a room, which describes ourselves (rule N1).

    Args:
        resumes: Whether we resume the session after a lost connection (L6).
        last_sid: The SID of our last session, if we join again (L7).
        auto_subscribe: Whether to receive the tracks of all others, where there are any.
    """
    client = models.ClientInfo(
        sdk=models.ClientInfo.PYTHON,
        version=_version("trio-rpc"),
        protocol=16,
        client_protocol=CLIENT_PROTOCOL,
    )
    client.capabilities.extend(CAPABILITIES)  # type: ignore[arg-type]
    if resumes:
        client.capabilities.append(CAN_RESUME)  # type: ignore[arg-type]
    settings = rtc.ConnectionSettings(auto_subscribe=auto_subscribe)
    return rtc.JoinRequest(
        client_info=client, participant_sid=last_sid, connection_settings=settings
    )


def resume_request(sid: str, last_numbers: Mapping[str, int]) -> rtc.JoinRequest:
    """Return the request to resume a session over another connection (L3).

    Args:
        sid: Our SID.
        last_numbers: The number of the last packet that we have from each publisher, by SID.
    """
    request = join_request(resumes=True)
    request.reconnect = True
    request.reconnect_reason = models.ReconnectReason.RR_SIGNAL_DISCONNECTED
    request.participant_sid = sid
    request.sync_state.datachannel_receive_states.extend(
        rtc.DataChannelReceiveState(publisher_sid=publisher, last_seq=number)
        for publisher, number in last_numbers.items()
    )
    return request


async def receive_resumption(link: Link) -> tuple[rtc.ReconnectResponse, list[Frame]]:
    """Receive the server's `ReconnectResponse`, and the frames that came with it.

    Raises:
        LinkClosedError: the link has ended.
        NotResumedError: the server does not resume the session.
    """
    (channel, body), *others = await link.receive()
    response = rtc.SignalResponse.FromString(body) if channel is Channel.SIGNAL else None
    if response is None or not response.HasField("reconnect"):
        raise NotResumedError
    return response.reconnect, others


class NotResumedError(Exception):
    """The server does not resume the session."""


class RejectedError(ConnectError):
    """The server does not admit us, and will not.

    Attributes:
        reason: LiveKit's name of the reason.
    """

    def __init__(self, reason: DisconnectReason) -> None:
        super().__init__(f"the server rejected us: {reason.name}")
        self.reason = reason


async def receive_join(link: Link) -> tuple[rtc.JoinResponse, list[Frame]]:
    """Receive the server's `JoinResponse`, and the frames that came with it.

    Raises:
        ConnectError: the server rejected us, or sent something else. It is a `RejectedError` if it
            asks us not to try again.
    """
    try:
        (channel, body), *others = await link.receive()
        response = rtc.SignalResponse.FromString(body) if channel is Channel.SIGNAL else None
    except LinkClosedError as error:
        raise ConnectError(f"the server disconnected us before we had joined: {error}") from None
    except (ValueError, DecodeError):
        response, others = None, []
    match response and response.WhichOneof("message"):
        case "join":
            assert response is not None
            return response.join, others
        case "leave":
            assert response is not None
            reason = DisconnectReason(response.leave.reason)
            if response.leave.action == rtc.LeaveRequest.DISCONNECT:
                raise RejectedError(reason)
            raise ConnectError(f"the server rejected us: {reason.name}")
        case _:
            raise ConnectError("the server's first message was not a JoinResponse")
