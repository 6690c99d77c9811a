"""Joining a room: our request, and the server's response."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Final

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from ..errors import ConnectError, DisconnectReason
from ..links import Channel, Frame, Link, LinkClosedError
from ..protocol.capabilities import CAPABILITIES, CLIENT_PROTOCOL

#: Reading the metadata of a package takes milliseconds.
_version: Final = cache(version)


def join_request() -> rtc.JoinRequest:
    """Return the request to join a room, which describes ourselves (rule N1)."""
    client = models.ClientInfo(
        sdk=models.ClientInfo.PYTHON,
        version=_version("trio-rpc"),
        protocol=16,
        client_protocol=CLIENT_PROTOCOL,
    )
    client.capabilities.extend(CAPABILITIES)  # type: ignore[arg-type]
    return rtc.JoinRequest(client_info=client)


async def receive_join(link: Link) -> tuple[rtc.JoinResponse, list[Frame]]:
    """Receive the server's `JoinResponse`, and the frames that came with it.

    Raises:
        ConnectError: the server rejected us, or sent something else.
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
            reason = DisconnectReason(response.leave.reason).name
            raise ConnectError(f"the server rejected us: {reason}")
        case _:
            raise ConnectError("the server's first message was not a JoinResponse")
