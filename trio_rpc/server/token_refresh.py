"""Refreshed access tokens, with which participants open their next connections (rule L11).

A token may be made for joining within a minute, and a participant may have changed its name,
metadata and attributes since, or an administrator its permissions. So each participant gets a token
for the present state: when its connection begins, after each change, and in time before the last
one expires.
"""

from __future__ import annotations

import datetime
import math
from typing import Final

from attrs import define, evolve, field
from livekit.protocol import rtc

from ..tokens import AccessToken, Claims
from .rooms.member import Member, signal_frame

#: Seconds between the tokens of a participant, and those for which a token is valid; as in
#: LiveKit's server.
REFRESH_INTERVAL: Final = 5 * 60.0
TOKEN_LIFETIME: Final = datetime.timedelta(minutes=10)
#: The longest token: it is part of the head of an HTTP request, which has 32 KiB.
_MAX_TOKEN_BYTES: Final = 16 * 1024
#: The tokens after changes between two periodic checks.
_MAX_CHANGES: Final = 10


def refreshed_token(claims: Claims, member: Member, secret: str) -> str:
    """Return a token for a member's present state, signed with the API key of its own token.

    A description that would make the token too long for a request is that of its own token.

    Args:
        claims: The claims of the token with which the member has joined or resumed.
        secret: The secret of their API key.
    """
    permissions = member.permissions
    grants = evolve(
        claims.grants,
        can_publish=permissions.can_publish,
        can_subscribe=permissions.can_subscribe,
        can_publish_data=permissions.can_publish_data,
        can_update_own_metadata=permissions.can_update_metadata,
        hidden=permissions.hidden,
    )
    token = (
        AccessToken(claims.api_key, secret)
        .with_identity(claims.identity)
        .with_kind(claims.kind)
        .with_grants(grants)
        .with_ttl(TOKEN_LIFETIME)
    )
    described = (
        token.with_name(member.name)
        .with_metadata(member.metadata)
        .with_attributes(member.attributes)
    ).to_jwt()
    if len(described) <= _MAX_TOKEN_BYTES:
        return described
    return (
        token.with_name(claims.name)
        .with_metadata(claims.metadata)
        .with_attributes(claims.attributes)
    ).to_jwt()


@define(eq=False)
class TokenRefresher:
    """The refreshed tokens for one connection of a member.

    Args:
        claims: The claims of the token with which the connection was opened.
        secret: The secret of their API key.
    """

    _claims: Claims
    _member: Member
    _secret: str = field(repr=False)
    # The version of the member's description in the last token, and the time of the next one
    _version: int = field(init=False, default=0)
    _due_at: float = field(init=False, default=-math.inf)
    _changes: int = field(init=False, default=0)

    def refresh(self, now: float) -> None:
        """Send a token if it is due, or the member has changed; called periodically."""
        self._changes = _MAX_CHANGES
        if now >= self._due_at or self._is_outdated:
            self._send(now)

    def on_handled(self, now: float) -> None:
        """Send a token if the member has changed, unless it changes all the time."""
        if self._is_outdated and self._changes:
            self._changes -= 1
            self._send(now)

    @property
    def _is_outdated(self) -> bool:
        return self._member.version != self._version

    def _send(self, now: float) -> None:
        member = self._member
        token = refreshed_token(self._claims, member, self._secret)
        frame = signal_frame(rtc.SignalResponse(refresh_token=token))
        # A member whose queue is full gets it later.
        if member.backlog.has_room(len(frame.body), member.send_queue.queued_bytes):
            member.deliver(frame, member)
            self._version = member.version
            self._due_at = now + REFRESH_INTERVAL
