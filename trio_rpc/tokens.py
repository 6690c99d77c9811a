"""Creation and verification of LiveKit's access tokens (rule V1)."""

# PyJWT's types are unknown where `cryptography`, which HS256 does without, is not installed.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import datetime
import math
import os
import time
from collections.abc import Mapping
from copy import copy
from hmac import compare_digest
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast, get_args

import jwt
from attrs import field, fields, frozen
from jwt.types import Options

from .errors import InvalidTokenError
from .protocol.limits import utf8_length

__all__ = [
    "AccessToken",
    "Claims",
    "KindClaim",
    "VideoGrants",
    "check_join",
    "inspect_token",
    "verify_token",
]

#: The claim `kind` of a token: a `ParticipantKind`, by its name in lower case.
KindClaim: TypeAlias = Literal["standard", "ingress", "egress", "sip", "agent"]

MAX_IDENTITY_BYTES: Final = 256  #: The longest identity of a participant, in UTF-8.
MAX_ROOM_NAME_BYTES: Final = 256  #: The longest name of a room, in UTF-8.

#: The secret of an API key, or several, the first of which signs: to replace one by another.
Secrets: TypeAlias = str | tuple[str, ...]

_ALGORITHM: Final = "HS256"
_TYPES: Final[dict[type, str]] = {bool: "true or false", str: "text", list: "a list", dict: "a map"}
# The rest of "the token …" for each error of PyJWT, whose own texts may repeat parts of the token.
_REASONS: Final[dict[type[Exception], str]] = {
    jwt.InvalidAlgorithmError: f"is not signed with {_ALGORITHM}",
    jwt.InvalidKeyError: f"names API key {{!r}}, whose secret is of no use for {_ALGORITHM}",
    jwt.InvalidSignatureError: "is signed with another secret than the one of API key {!r}",
}
# `_check_times` checks the times: PyJWT accepts all that `int` accepts for one, odd text too.
# The claim `aud` has no meaning in LiveKit.
_OPTIONS: Final[Options] = {
    "verify_aud": False,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}
_LEEWAY: Final = 10  # Seconds that the clocks of signer and server may differ by.
_T = TypeVar("_T")


@frozen(kw_only=True)
class VideoGrants:
    """The grants of a token's holder: the claim `video` of LiveKit's access tokens (rule V1).

    None leaves the decision to the server; grants read from a token have no None.

    Attributes:
        room_create, room_list, room_record: Create, list, record rooms.
        room_admin, room_join: Manage, join the room that is named `room`.
        can_publish, can_subscribe: Publish tracks, subscribe to those of others. None means yes.
        can_publish_data: Send data packets, and so RPC. None means the same as `can_publish`.
        can_publish_sources: The only sources of tracks that may be published; empty for any.
        can_update_own_metadata: Change its own name, metadata and attributes. None means no.
        hidden: Not shown to others.
        agent: Register as a worker of LiveKit's agents.
    """

    room_create: bool = False
    room_list: bool = False
    room_record: bool = False
    room_admin: bool = False
    room_join: bool = False
    room: str = ""
    can_publish: bool | None = None
    can_subscribe: bool | None = None
    can_publish_data: bool | None = None
    can_publish_sources: tuple[str, ...] = ()
    can_update_own_metadata: bool | None = None
    hidden: bool = False
    agent: bool = False

    def to_claim(self) -> dict[str, object]:
        """Return the claim `video` for these grants, without defaults."""
        return {
            _claim_name(grant.name): [*value] if isinstance(value, tuple) else value
            for grant in fields(VideoGrants)
            if (value := getattr(self, grant.name)) != grant.default
        }

    @classmethod
    def from_claim(cls, claim: Mapping[str, object]) -> VideoGrants:
        """Return the grants of a decoded claim `video`; absent ones get LiveKit's defaults.

        Raises:
            InvalidTokenError: a grant has the wrong type; the text names it.
        """
        can_publish = _take(claim, "canPublish", True)
        sources: list[object] = _take(claim, "canPublishSources", [])
        entry = "an entry of the claim 'canPublishSources'"
        absent = {"can_publish": True, "can_subscribe": True, "can_publish_data": can_publish}
        flags = {
            grant.name: _take(claim, _claim_name(grant.name), absent.get(grant.name, False))
            for grant in fields(VideoGrants)
            if grant.name not in ("room", "can_publish_sources")
        }
        return cls(
            room=_take(claim, "room", ""),
            can_publish_sources=tuple(_check(entry, source, "") for source in sources),
            **flags,
        )


@frozen(kw_only=True)
class Claims:
    """The claims of a verified token about its holder (rule V1).

    Attributes:
        api_key: The API key whose secret signed the token.
        identity: The identity of the holder; empty only if the token does not grant joining.
        name, metadata, attributes: The holder's description for the others in the room.
        kind: The kind of participant, one of `KindClaim`.
        grants: The grants of the holder.
        expires_at: The expiry of the token, in seconds since 1970; None if unknown.
    """

    api_key: str
    identity: str = ""
    name: str = ""
    metadata: str = ""
    attributes: Mapping[str, str] = field(factory=dict[str, str])
    kind: KindClaim = "standard"
    grants: VideoGrants = VideoGrants()
    expires_at: float | None = None


class AccessToken:
    """A builder of access tokens, as in LiveKit's SDKs (rule V1).

    Each `with_` method returns a new builder and leaves this one unchanged.

    Args:
        api_key: The API key to sign with; None for `LIVEKIT_API_KEY` of the environment.
        api_secret: The secret of the API key, 32 bytes or more to be safe; None for
            `LIVEKIT_API_SECRET` of the environment.

    Raises:
        ValueError: one of them is neither given nor in the environment.
    """

    def __init__(self, api_key: str | None = None, api_secret: str | None = None) -> None:
        self._api_key = api_key or os.environ.get("LIVEKIT_API_KEY")
        self._api_secret = api_secret or os.environ.get("LIVEKIT_API_SECRET", "")
        if not self._api_key or not self._api_secret:
            raise ValueError("pass key and secret, or set LIVEKIT_API_KEY and LIVEKIT_API_SECRET")
        self._ttl = datetime.timedelta(hours=6)
        self._claims: dict[str, object] = {}

    def with_identity(self, identity: str) -> AccessToken:
        """Set the identity of the holder, unique in a room: at most 256 UTF-8 bytes."""
        return self._with("sub", identity)

    def with_name(self, name: str) -> AccessToken:
        """Set the name of the holder that people see."""
        return self._with("name", name)

    def with_metadata(self, metadata: str) -> AccessToken:
        """Set any text about the holder, for the others in the room."""
        return self._with("metadata", metadata)

    def with_attributes(self, attributes: Mapping[str, str]) -> AccessToken:
        """Set named texts about the holder, for the others in the room."""
        return self._with("attributes", dict(attributes))

    def with_kind(self, kind: KindClaim) -> AccessToken:
        """Set the kind of participant; the default is `standard`."""
        return self._with("kind", kind)

    def with_grants(self, grants: VideoGrants) -> AccessToken:
        """Set the grants of the holder."""
        return self._with("video", grants.to_claim())

    def with_ttl(self, ttl: datetime.timedelta) -> AccessToken:
        """Set the time in which the holder may join, from signing on; the default is 6 hours."""
        changed = copy(self)
        changed._ttl = ttl
        return changed

    def to_jwt(self) -> str:
        """Sign the token, which is valid from now on.

        Raises:
            ValueError: `verify_token` would always refuse it: joining is granted without an
                identity, the identity or the room's name is too long, the kind is unknown, the
                secret cannot sign, …
        """
        now = time.time()
        times = {"nbf": int(now), "exp": int(now + self._ttl.total_seconds())}
        payload = {"iss": self._api_key, **self._claims, **times}
        try:
            _read_claims(payload)
            return jwt.encode(payload, self._api_secret, algorithm=_ALGORITHM)
        except (InvalidTokenError, jwt.InvalidKeyError) as error:
            raise ValueError(f"the token would be refused: {error}") from error

    def _with(self, claim: str, value: object) -> AccessToken:
        changed = copy(self)
        changed._claims = {**self._claims, claim: value}
        return changed


def verify_token(token: str, api_keys: Mapping[str, Secrets]) -> Claims:
    """Verify a token, and return its claims (rule V1).

    The token must name one of `api_keys`, be signed with HS256 and that key's secret (the value in
    `api_keys`, or one of several), have an expiry, and be valid now, give or take 10 seconds.

    Raises:
        InvalidTokenError: the token is not accepted; the text is the reason.
    """
    api_key = _take(inspect_token(token), "iss", "")
    if api_key not in api_keys:
        # Key and secret are easily swapped, and then the text must not reveal the secret.
        known = [secret for secrets in api_keys.values() for secret in secrets_of(secrets)]
        if any(compare_digest(api_key.encode(), secret.encode()) for secret in known):
            raise InvalidTokenError("the token has a secret where its API key belongs")
        raise InvalidTokenError(f"API key {api_key[:64]!r} is not known to this server")
    payload = _decode(token, api_key, secrets_of(api_keys[api_key]))
    _check_times(payload, time.time())
    return _read_claims(payload)


def secrets_of(secrets: Secrets) -> tuple[str, ...]:
    """Return the secrets of an API key, of which there is one or several."""
    return (secrets,) if isinstance(secrets, str) else secrets


def _decode(token: str, api_key: str, secrets: tuple[str, ...]) -> dict[str, Any]:
    """Return the payload of a token that is signed with one of the secrets."""
    failure = jwt.PyJWTError()
    for secret in secrets:
        try:
            return jwt.decode(token, secret, algorithms=[_ALGORITHM], options=_OPTIONS)
        except jwt.PyJWTError as error:
            failure = error
            if not isinstance(error, jwt.InvalidSignatureError):
                break
    why = _REASONS.get(type(failure), "has a 'sub' or 'jti' of a wrong type")
    raise InvalidTokenError(f"the token {why.format(api_key)}") from failure


def bearer_token(authorization: str) -> str:
    """Return the token of an HTTP header `Authorization: Bearer …`; `""` for any other."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def check_join(claims: Claims, room: str | None = None) -> None:
    """Check that verified `claims` allow joining `room`, or any room if that is None.

    Raises:
        InvalidTokenError: joining is not granted (rule V1), or no room or another one is named.
    """
    if not claims.grants.room_join:
        raise InvalidTokenError("the token does not grant joining a room (roomJoin)")
    if not claims.grants.room:
        raise InvalidTokenError("the token names no room to join")
    if room is not None and room != claims.grants.room:
        raise InvalidTokenError(f"the token is for room {claims.grants.room!r}, not for {room!r}")


def inspect_token(token: str) -> dict[str, object]:
    """Return the claims of a token for inspection, without verifying it.

    Raises:
        InvalidTokenError: it is not a JWT.
    """
    try:
        return jwt.decode(token.encode("ascii"), options={"verify_signature": False})
    except (jwt.PyJWTError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidTokenError("the token is not a JWT") from error


def _check_times(payload: Mapping[str, object], now: float) -> None:
    expiry = _take_time(payload, "exp")
    if expiry is None:
        raise InvalidTokenError("the token has no expiry (the claim 'exp')")
    if expiry <= now - _LEEWAY:
        raise InvalidTokenError("the token has expired")
    for claim in ("nbf", "iat"):
        moment = _take_time(payload, claim)
        if moment is not None and moment > now + _LEEWAY:
            raise InvalidTokenError("the token is not valid yet")


def _take_time(payload: Mapping[str, object], claim: str) -> float | None:
    """Return a claim in seconds since 1970, a JSON number; None if it is absent or null."""
    value = payload.get(claim)
    if value is None:
        return None
    # Python's JSON has NaN and Infinity too, and its true is an int.
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise InvalidTokenError(f"the claim {claim!r} is not a number of seconds")
    return value


def _is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _read_claims(payload: Mapping[str, Any]) -> Claims:
    grants = VideoGrants.from_claim(_take(payload, "video", {}))
    identity = _take(payload, "sub", "")
    if grants.room_join and not identity:
        raise InvalidTokenError("the token grants joining a room but has no identity")
    if utf8_length(identity) > MAX_IDENTITY_BYTES:
        raise InvalidTokenError(f"the identity is longer than {MAX_IDENTITY_BYTES} UTF-8 bytes")
    if utf8_length(grants.room) > MAX_ROOM_NAME_BYTES:
        raise InvalidTokenError(f"the room's name is longer than {MAX_ROOM_NAME_BYTES} UTF-8 bytes")
    kind = _take(payload, "kind", "") or "standard"
    if kind not in get_args(KindClaim):
        raise InvalidTokenError(f"the kind of participant {kind[:64]!r} is not known")
    attributes: dict[object, object] = _take(payload, "attributes", {})
    entry = "a name or value in the claim 'attributes'"
    return Claims(
        api_key=_take(payload, "iss", ""),
        identity=identity,
        name=_take(payload, "name", ""),
        metadata=_take(payload, "metadata", ""),
        attributes={_check(entry, k, ""): _check(entry, v, "") for k, v in attributes.items()},
        kind=cast("KindClaim", kind),
        grants=grants,
        expires_at=float(min(int(payload["exp"]), 2**53)),  # not every int can be a float
    )


def _take(claims: Mapping[str, object], key: str, default: _T) -> _T:
    """Return the claim `key`; `default` if it is absent or null, as in LiveKit's server."""
    value = claims.get(key)
    return default if value is None else _check(f"the claim {key!r}", value, default)


def _check(what: str, value: object, like: _T) -> _T:
    if not isinstance(value, type(like)):
        raise InvalidTokenError(f"{what} is not {_TYPES[type(like)]}")
    if isinstance(value, str):
        try:
            utf8_length(value)
        except ValueError:  # A lone surrogate, which JSON can have and protobuf cannot.
            raise InvalidTokenError(f"{what} is not text that UTF-8 can carry") from None
    return value


def _claim_name(name: str) -> str:
    """Return LiveKit's name for a grant: roomJoin for room_join."""
    return name[0] + name.title().replace("_", "")[1:]
