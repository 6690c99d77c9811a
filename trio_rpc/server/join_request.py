"""The parameters with which a client joins or resumes, within bounds."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Final, TypeGuard, cast

from attrs import field, frozen
from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from ..protocol.limits import utf8_length

#: The most bytes of an inflated join request, which holds an offer.
_MAX_JOIN_REQUEST_BYTES: Final = 512 * 1024
_MAX_CAPABILITIES: Final = 50
_MAX_CAPABILITY: Final = 65_535
#: The most characters of the list of capabilities in a query.
_MAX_CAPABILITIES_TEXT: Final = 1_000
_MAX_SID: Final = 64
#: The most publishers whose last numbers a client that resumes may list.
_MAX_RECEIVE_STATES: Final = 2_048
#: zlib's parameter for gzip.
_GZIP: Final = 16 + zlib.MAX_WBITS


@frozen
class Resumption:
    """A request to resume a session over another connection (L3).

    Attributes:
        sid: The SID of the participant.
        last_numbers: The number of the last packet that the client has from each publisher, by SID.
    """

    sid: str
    last_numbers: Mapping[str, int] = field(factory=dict[str, int])


@frozen
class JoinParameters:
    """The parameters with which a client joins.

    Attributes:
        client: The description of the client.
        single_peer_connection: Whether it uses `/rtc/v1`, where the client's peer connection
            carries both directions; otherwise there is one for each.
        offer: The client's offer, if the request has one.
        resumption: The session to resume; None to begin one.
        last_sid: The SID of the participant's last session, if it joins again (L7).
        metadata: The metadata that the client brings along; empty for that of its token.
        attributes: The attributes that it brings along, beside those of its token (V7).
    """

    client: models.ClientInfo
    single_peer_connection: bool = False
    offer: rtc.SessionDescription | None = None
    resumption: Resumption | None = None
    last_sid: str = ""
    metadata: str = ""
    attributes: Mapping[str, str] = field(factory=dict[str, str])


def parse_query(query: Mapping[str, str]) -> JoinParameters:
    """Parse the query of `/rtc`; invalid parts are ignored."""
    client = models.ClientInfo(version=query.get("version", "")[:64])
    client_protocol = query.get("client_protocol", "")[:4]
    if client_protocol.isascii() and client_protocol.isdigit():
        client.client_protocol = min(int(client_protocol), 1_000)
    names = query.get("capabilities", "")[:_MAX_CAPABILITIES_TEXT].split(",")
    found = [each for each in map(_capability, names) if each is not None]
    client.capabilities.extend(found[:_MAX_CAPABILITIES])
    resumes = query.get("reconnect") in ("1", "true")
    try:
        attributes = parse_attributes(query)
    except ValueError:
        # As on LiveKit's server, whose `/rtc/validate` alone says so.
        attributes = {}
    return JoinParameters(
        client,
        resumption=Resumption(query.get("sid", "")) if resumes else None,
        attributes=attributes,
    )


def _capability(name: str) -> models.ClientInfo.Capability | None:
    """Return the capability of a name, as LiveKit's SDKs send it, or of a number, as ours do."""
    if name.isascii() and name.isdigit():
        number: int | None = min(int(name), _MAX_CAPABILITY)
    else:
        number = dict(models.ClientInfo.Capability.items()).get(name)
    return cast("models.ClientInfo.Capability | None", number)


def parse_attributes(query: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes in the query of `/rtc`, which are JSON in base64.

    Raises:
        ValueError: they can't be decoded.
    """
    text = query.get("attributes", "")
    if not text:
        return {}
    try:
        attributes = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        raise ValueError("cannot decode attributes") from None
    if not isinstance(attributes, dict):
        raise ValueError("cannot decode attributes")
    given = cast("dict[object, object]", attributes)
    texts = {key: value for key, value in given.items() if _is_text(key) and _is_text(value)}
    if len(texts) < len(given):
        raise ValueError("cannot decode attributes")
    return texts


def _is_text(value: object) -> TypeGuard[str]:
    try:
        return isinstance(value, str) and utf8_length(value) >= 0
    except ValueError:  # A lone surrogate, which JSON can have and protobuf cannot.
        return False


def parse_join_request(query: Mapping[str, str]) -> JoinParameters:
    """Parse the query of `/rtc/v1`.

    Raises:
        ValueError: there is no join request, or it is invalid.
    """
    text = query.get("join_request", "")
    if not text:
        raise ValueError("the parameter join_request is missing")
    try:
        wrapped = rtc.WrappedJoinRequest.FromString(
            base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        )
        body = wrapped.join_request
        if wrapped.compression == rtc.WrappedJoinRequest.Compression.GZIP:
            body = _inflate(body)
        request = rtc.JoinRequest.FromString(body)
    except (binascii.Error, DecodeError, zlib.error) as error:
        raise ValueError(f"join_request can't be read: {type(error).__name__}") from None
    return join_parameters(request)


def join_parameters(request: rtc.JoinRequest) -> JoinParameters:
    """Return the parameters of a join request."""
    return JoinParameters(
        _within_bounds(request.client_info),
        single_peer_connection=True,
        offer=request.publisher_offer if request.HasField("publisher_offer") else None,
        resumption=_resumption(request) if request.reconnect else None,
        last_sid="" if request.reconnect else request.participant_sid[:_MAX_SID],
        metadata=request.metadata,
        attributes=dict(request.participant_attributes),
    )


def _resumption(request: rtc.JoinRequest) -> Resumption:
    states = request.sync_state.datachannel_receive_states[:_MAX_RECEIVE_STATES]
    return Resumption(
        request.participant_sid, {state.publisher_sid: state.last_seq for state in states}
    )


def _inflate(body: bytes) -> bytes:
    decompressor = zlib.decompressobj(wbits=_GZIP)
    content = decompressor.decompress(body, _MAX_JOIN_REQUEST_BYTES + 1)
    if len(content) > _MAX_JOIN_REQUEST_BYTES:
        raise ValueError(f"join_request inflates to more than {_MAX_JOIN_REQUEST_BYTES:,} bytes")
    if not decompressor.eof:
        raise ValueError("join_request is cut off")
    return content


def _within_bounds(client: models.ClientInfo) -> models.ClientInfo:
    """Return the part of a client's description that is kept and announced, within limits."""
    return models.ClientInfo(
        version=client.version[:64],
        client_protocol=max(0, min(client.client_protocol, 1_000)),
        capabilities=client.capabilities[:_MAX_CAPABILITIES],
    )
