"""The table of targets."""

from __future__ import annotations

from typing import Final

from .target import Target

_ALL: Final = (
    # Read at once
    Target(
        name="frames",
        about="Frames of a message: decoded, encoded again, decoded again",
        where="texts:check_frames",
        runs_at_once=True,
    ),
    Target(
        name="packets",
        about="A DataPacket from a link",
        where="texts:check_packet",
        runs_at_once=True,
    ),
    Target(
        name="records",
        about="Records of a stream link, which are the same however they are cut",
        where="texts:records",
    ),
    Target(
        name="tokens",
        about="Access tokens: as text, and signed with the right key whatever they say",
        where="texts:check_token",
        runs_at_once=True,
    ),
    Target(
        name="sdp",
        about="Session descriptions of LiveKit's SDKs, and our answer to all of one",
        where="texts:check_sdp",
        runs_at_once=True,
        max_bytes=4_096,
    ),
    Target(
        name="join_request",
        about="What LiveKit's SDKs say of themselves in the query: base64, gzip, protobuf",
        where="texts:check_join_request",
        runs_at_once=True,
    ),
    Target(
        name="urls",
        about="URLs of all links, to nobody",
        where="clients:urls",
        max_bytes=300,
        backends=("trio",),
    ),
    # A server
    Target(
        name="http",
        about="HTTP connections to the app of a server, from the first byte",
        where="connections:http",
    ),
    Target(
        name="websocket",
        about="A participant's WebSocket after its handshake, byte by byte",
        where="connections:websocket",
    ),
    Target(
        name="websocket_messages",
        about="The same in frames that are almost right, with packets in them",
        where="connections:websocket_messages",
    ),
    Target(
        name="stream",
        about="Connections to the listener of stream links, from the first byte",
        where="connections:stream",
    ),
    Target(
        name="stream_messages",
        about="The same in records that are almost right, from HELLO on",
        where="connections:stream_messages",
    ),
    Target(
        name="member_frames",
        about="Frames of a member: packets and SignalRequests as they come",
        where="members:member_frames",
    ),
    Target(
        name="members",
        about="Members that forge packets and signalling, come, go, and are called",
        where="members:members",
    ),
    Target(
        name="livekit_client",
        about="Signalling and packets of a participant with an SDK of LiveKit's",
        where="livekit:livekit_client",
    ),
    Target(
        name="twirp",
        about="Requests to RoomService, in protobuf and JSON",
        where="twirp:twirp",
    ),
    # A client
    Target(
        name="server_frames",
        about="Messages of a hostile server to a client that is in the room",
        where="peers:server_frames",
    ),
    Target(
        name="join_response",
        about="The first messages of a hostile server",
        where="peers:join_response",
    ),
    Target(
        name="peers",
        about="Forged packets of a peer to a client that calls it and is called",
        where="peers:peers",
    ),
    Target(
        name="streams",
        about="Forged streams of a peer beside one that is right",
        where="peers:streams",
    ),
    Target(
        name="stream_client",
        about="The other side of a client's stream link: ANSWER and what follows",
        where="clients:stream_client",
    ),
    Target(
        name="websocket_client",
        about="The other side of a client's WebSocket, on trio",
        where="clients:websocket_client",
        backends=("trio",),
    ),
)

#: By name, in the order in which they are tried.
TARGETS: Final = {target.name: target for target in _ALL}
