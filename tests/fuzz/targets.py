"""The table of targets."""

from __future__ import annotations

from typing import Final

from . import clients, connections, members, peers, texts, twirp
from .target import Target

_ALL: Final = (
    # Read at once
    Target(
        name="frames",
        about="Frames of a message: decoded, encoded anew, decoded again",
        check=texts.check_frames,
    ),
    Target(
        name="packets",
        about="A DataPacket from a link",
        check=texts.check_packet,
    ),
    Target(
        name="records",
        about="Records of a stream link, which are the same however they are cut",
        arena=texts.records,
    ),
    Target(
        name="tokens",
        about="Access tokens: as text, and signed with the right key whatever they say",
        check=texts.check_token,
    ),
    Target(
        name="sdp",
        about="Session descriptions of LiveKit's SDKs, and our answer to all of one",
        check=texts.check_sdp,
        max_bytes=4_096,
    ),
    Target(
        name="join_request",
        about="What LiveKit's SDKs say of themselves in the query: base64, gzip, protobuf",
        check=texts.check_join_request,
    ),
    Target(
        name="urls",
        about="URLs of all links, to nobody",
        arena=clients.urls,
        max_bytes=300,
        backends=("trio",),
    ),
    # A server
    Target(
        name="http",
        about="HTTP connections to the app of a server, from the first byte",
        arena=connections.http,
    ),
    Target(
        name="websocket",
        about="A participant's WebSocket after its handshake, byte by byte",
        arena=connections.websocket,
    ),
    Target(
        name="websocket_messages",
        about="The same in frames that are almost right, with packets in them",
        arena=connections.websocket_messages,
    ),
    Target(
        name="stream",
        about="Connections to the listener of stream links, from the first byte",
        arena=connections.stream,
    ),
    Target(
        name="stream_messages",
        about="The same in records that are almost right, from HELLO on",
        arena=connections.stream_messages,
    ),
    Target(
        name="member_frames",
        about="Frames of a member: packets and SignalRequests as they come",
        arena=members.member_frames,
    ),
    Target(
        name="members",
        about="Members that forge packets and signalling, come, go, and are called",
        arena=members.members,
    ),
    Target(
        name="twirp",
        about="Requests to RoomService, in protobuf and JSON",
        arena=twirp.twirp,
    ),
    # A client
    Target(
        name="server_frames",
        about="Messages of a hostile server to a client that is in the room",
        arena=peers.server_frames,
    ),
    Target(
        name="join_response",
        about="The first messages of a hostile server",
        arena=peers.join_response,
    ),
    Target(
        name="peers",
        about="Forged packets of a peer to a client that calls it and is called",
        arena=peers.peers,
    ),
    Target(
        name="streams",
        about="Forged streams of a peer beside one that is right",
        arena=peers.streams,
    ),
    Target(
        name="stream_client",
        about="The other side of a client's stream link: ANSWER and what follows",
        arena=clients.stream_client,
    ),
    Target(
        name="websocket_client",
        about="The other side of a client's WebSocket, on trio",
        arena=clients.websocket_client,
        backends=("trio",),
    ),
)

#: By name, in the order in which they are tried.
TARGETS: Final = {target.name: target for target in _ALL}
