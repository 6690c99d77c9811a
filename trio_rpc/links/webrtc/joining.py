"""The requests to join one of LiveKit's servers, and to stay. No I/O."""

from __future__ import annotations

from typing import Final

from livekit.protocol import models, rtc

#: The name of the data track that we announce; see `announcement`.
_TRACK_NAME: Final = "trio_rpc"


def resume_request(request: rtc.JoinRequest, sid: str) -> rtc.JoinRequest:
    """Return the request to go on over another WebSocket (L12).

    Args:
        request: The request that we joined with.
        sid: Our SID.
    """
    copy = rtc.JoinRequest()
    copy.CopyFrom(request)
    copy.reconnect = True
    copy.reconnect_reason = models.ReconnectReason.RR_SIGNAL_DISCONNECTED
    copy.participant_sid = sid
    return copy


def old_query(request: rtc.JoinRequest) -> dict[str, str]:
    """Return the parameters for `/rtc`, where servers before 1.9.11 expect them.

    Capabilities go by their names there, so those that are ours alone can't be sent.
    """
    client = request.client_info
    names = [
        models.ClientInfo.Capability.Name(each)
        for each in client.capabilities
        if each in models.ClientInfo.Capability.values()
    ]
    return {
        "protocol": str(client.protocol),
        "sdk": models.ClientInfo.SDK.Name(client.sdk).lower(),
        "version": client.version,
        "client_protocol": str(client.client_protocol),
        "capabilities": ",".join(names),
        "auto_subscribe": str(int(request.connection_settings.auto_subscribe)),
    }


def announcement() -> rtc.SignalRequest:
    """Return the request by which the others are told of us, and of our end, at once.

    LiveKit's server announces those who publish nothing in batches, every three seconds. A data
    track makes us a publisher; nothing is ever sent on it.
    """
    track = rtc.PublishDataTrackRequest(pub_handle=1, name=_TRACK_NAME)
    return rtc.SignalRequest(publish_data_track_request=track)


def is_about_announcement(response: rtc.SignalResponse) -> bool:
    """Whether a message is the response to `announcement`; a server may well refuse that."""
    return response.HasField("publish_data_track_response") or (
        response.HasField("request_response")
        and response.request_response.HasField("publish_data_track")
    )
