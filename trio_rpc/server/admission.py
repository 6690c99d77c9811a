"""Admission to a server's rooms: tokens, limits, and joining."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from typing import Final

from attrs import evolve
from livekit.protocol import models, rtc

from .. import concurrency
from ..errors import InvalidTokenError, RefusedError
from ..links import Link
from ..links.resumable import ResumableQueue
from ..protocol.budgets import Budget
from ..protocol.capabilities import CAN_RESUME
from ..tokens import Claims, Secrets, check_join, secrets_of, verify_token
from .join_request import JoinParameters
from .limits import ServerLimits
from .rooms.member import Member
from .rooms.room import ServerRoom
from .rooms.sizes import check_description
from .rooms.table import RoomTable
from .token_refresh import TokenRefresher

#: The version of LiveKit's server whose behaviour towards RPC we show (N2).
_LIVEKIT_VERSION: Final = "1.9.0"
#: The version of LiveKit's signalling protocol that we speak.
_SIGNALLING_VERSION: Final = 16

#: Reading the metadata of a package takes milliseconds.
_version: Final = cache(version)


class ReplacedError(RefusedError):
    """A participant that joins again was replaced by another of the same identity."""


class Admission:
    """The admission of participants to the rooms of a server, over any transport.

    Args:
        api_keys: The secret of each API key, or several, the first of which signs.
        limits: The limits of the server.
        rooms: The rooms, created as participants join them.
        budget: Charged for what members make the server hold (B4).

    Attributes:
        closed: Whether nobody is admitted any more: the server shuts down.

    Raises:
        ValueError: there is no API key, or one without a secret.
    """

    def __init__(
        self,
        api_keys: Mapping[str, Secrets],
        limits: ServerLimits,
        rooms: RoomTable,
        budget: Budget,
    ) -> None:
        secrets = [secrets_of(each) for each in api_keys.values()]
        if not secrets or not all(each and all(each) for each in secrets):
            raise ValueError("a RoomServer needs at least one API key, each with a secret")
        self.limits = limits
        self.closed = False
        self._api_keys = dict(api_keys)
        self._rooms = rooms
        self._budget = budget
        self._joins_in_flight = 0

    def authenticate(self, token: str) -> Claims:
        """Return the claims of a token that lets its holder join the room that it names (V1).

        Raises:
            RefusedError: the token does not admit anybody; the reason says why.
        """
        try:
            claims = self.verify(token)
            check_join(claims)
        except InvalidTokenError as error:
            raise RefusedError(401, str(error)) from None
        return claims

    def authenticate_worker(self, token: str) -> Claims:
        """Return the claims of a token that lets its holder be a worker of LiveKit Agents.

        Raises:
            RefusedError: the token does not admit anybody; the reason says why.
        """
        try:
            claims = self.verify(token)
        except InvalidTokenError as error:
            raise RefusedError(401, str(error)) from None
        if not claims.grants.agent:
            raise RefusedError(401, "the token does not grant being a worker of agents (agent)")
        return claims

    def verify(self, token: str) -> Claims:
        """Return the claims of a token, whatever it allows (V1).

        Raises:
            InvalidTokenError: it is not signed with one of our API keys, or not valid now; the text
                says why.
        """
        return verify_token(token, self._api_keys)

    def secret_of(self, token: str, claims: Claims) -> str:
        """Return the secret that a verified token is signed with, of those of its API key."""
        *others, last = secrets_of(self._api_keys[claims.api_key])
        for secret in others:
            with suppress(InvalidTokenError):
                verify_token(token, {claims.api_key: secret})
                return secret
        return last

    def refresher(self, claims: Claims, member: Member) -> TokenRefresher:
        """Return the refresher of a member's token, with the API key that has signed `claims`."""
        return TokenRefresher(claims, member, secrets_of(self._api_keys[claims.api_key])[0])

    @contextmanager
    def joining(self) -> Generator[None]:
        """Count as one of the joins in flight, whose number is bounded.

        Raises:
            RefusedError: there are too many, or the server shuts down.
        """
        self._check_open()
        limit = self.limits.max_joins_in_flight
        if self._joins_in_flight >= limit:
            raise RefusedError(503, f"{limit} participants are joining already: try again")
        self._joins_in_flight += 1
        try:
            yield
        finally:
            self._joins_in_flight -= 1

    def check_space(self, claims: Claims) -> None:
        """Refuse a participant that would be one too many.

        Raises:
            RefusedError: the room is full, or would be one room too many.
        """
        room = self._rooms.find(claims.grants.room)
        if room is None:
            self._rooms.check_space()
        elif claims.identity not in room.members and len(room.members) >= room.max_participants:
            raise RefusedError(
                429, f"room {room.name!r} has {len(room.members)} participants, which is its limit"
            )

    def describe(self, claims: Claims, parameters: JoinParameters) -> Claims:
        """Return the claims of a participant as described by its client (V7).

        Raises:
            RefusedError: its token does not allow to change it, or it is too large.
        """
        attributes = {key: value for key, value in parameters.attributes.items() if value}
        if parameters.resumption is not None or not (parameters.metadata or parameters.attributes):
            return claims
        if not claims.grants.can_update_own_metadata:
            text = "the token does not grant bringing along metadata (canUpdateOwnMetadata)"
            raise RefusedError(401, text)
        claims = evolve(
            claims,
            metadata=parameters.metadata or claims.metadata,
            attributes={**claims.attributes, **attributes},
        )
        try:
            check_description(claims.metadata, claims.attributes, self.limits)
        except ValueError as error:
            raise RefusedError(400, str(error)) from None
        return claims

    def members_of(self, room: str) -> Sequence[Member]:
        """Return the members of a room, which get the announcement of a joining participant."""
        server_room = self._rooms.find(room)
        return () if server_room is None else tuple(server_room.members.values())

    def find_session(self, claims: Claims, sid: str) -> tuple[ServerRoom, Member]:
        """Return the member that a token and a SID identify, and its room (L3).

        Raises:
            RefusedError: there is none, or the server shuts down.
        """
        self._check_open()
        room = self._rooms.find(claims.grants.room)
        member = None if room is None else room.members.get(claims.identity)
        if room is None or member is None or member.sid != sid or member.resumable is None:
            raise RefusedError(404, "there is no such session (any more)")
        if member.close_reason is not None:
            raise RefusedError(404, f"the session has ended: {member.close_reason}")
        return room, member

    def join(
        self,
        claims: Claims,
        client: models.ClientInfo,
        link: Link,
        last_sid: str = "",
        opening: rtc.JoinResponse | None = None,
    ) -> tuple[ServerRoom, Member]:
        """Admit an authenticated participant; everything for it goes through the link from here on.

        Args:
            claims: The claims of its token.
            client: Its description of itself.
            link: The link to it.
            last_sid: The SID of its last session, if it joins again (L7).
            opening: Additions of its transport to the `JoinResponse`, if packets reach the
                participant only later; it becomes active then.

        Raises:
            ReplacedError: another participant has joined under the identity since its last session.
            RefusedError: the room has filled up in the meantime, or the server shuts down.
        """
        self._check_open()
        self.check_space(claims)
        self._check_not_replaced(claims, last_sid)
        room = self._rooms.enter(claims.grants.room)
        resumable = None
        if CAN_RESUME in client.capabilities and self.limits.resume_window and link.can_resume:
            backend = concurrency.current()
            resumable = ResumableQueue(link, self.limits.max_queue_bytes, backend)
        member = Member.from_claims(claims, client, link, resumable, self.limits, self._budget)
        member.last_sid = last_sid
        join = self._join_response()
        if opening is not None:
            join.MergeFrom(opening)
            member.state = models.ParticipantInfo.JOINED
        room.join(member, join)
        return room, member

    def _check_not_replaced(self, claims: Claims, last_sid: str) -> None:
        room = self._rooms.find(claims.grants.room)
        member = None if room is None else room.members.get(claims.identity)
        if not last_sid or member is None or member.close_reason is not None:
            return
        # Its client may not have had the response to an earlier attempt to join again.
        if last_sid not in (member.sid, member.last_sid):
            raise ReplacedError(409, f"another participant has joined as {claims.identity!r}")

    def _check_open(self) -> None:
        if self.closed:
            raise RefusedError(503, "the server shuts down")

    def server_info(self) -> models.ServerInfo:
        """Return the description of the server for its clients."""
        return models.ServerInfo(
            version=_LIVEKIT_VERSION,
            protocol=_SIGNALLING_VERSION,
            node_id=f"trio-rpc-{_version('trio-rpc')}",
        )

    def _join_response(self) -> rtc.JoinResponse:
        return rtc.JoinResponse(
            server_version=_LIVEKIT_VERSION,
            server_info=self.server_info(),
            ping_interval=self.limits.ping_interval,
            ping_timeout=self.limits.ping_timeout,
        )
