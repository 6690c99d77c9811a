"""The server's half of a session: from joining, over one connection or several, to leaving.

A task serves one connection. When the connection is lost and the client can resume, the member is
detached: it remains in its room, without a task, for `ServerLimits.resume_window` seconds. The task
of its next connection attaches it. Without one in time, the member leaves: the task of another
member of the room removes it, or the next look-up of the room.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from attrs import frozen
from livekit.protocol import rtc

from .. import concurrency
from ..concurrency import Backend
from ..errors import DisconnectReason, RefusedError
from ..links import LinkClosedError, LinkFullError, ServedLink
from ..protocol.logs import peer_logger
from ..protocol.retained import NotRetainedError
from ..tokens import Claims
from .admission import Admission, ReplacedError
from .back_pressure import wait_for_room
from .connection import MemberConnection
from .join_request import JoinParameters, Resumption
from .rooms.member import Member, leave_request, signal_frame
from .rooms.room import ServerRoom

logger = peer_logger(__name__)
#: Seconds that a joining participant waits for participants whose queues are full.
_JOIN_PATIENCE: Final = 5.0
#: Seconds that a participant's data channel may take to open.
_OPEN_TIMEOUT: Final = 20.0


@frozen
class Opening:
    """The opening of a transport that carries data packets only some time after the join.

    Attributes:
        join: Additions of the transport to the `JoinResponse`.
        wait_open: Waits until packets reach the participant.
        on_joined: Called with the room and the member when it has joined.
    """

    join: rtc.JoinResponse
    wait_open: Callable[[], Awaitable[None]]
    on_joined: Callable[[ServerRoom, Member], None]


async def serve_member(
    admission: Admission,
    link: ServedLink,
    claims: Claims,
    parameters: JoinParameters,
    opening: Opening | None = None,
) -> None:
    """Admit a participant and serve it, until it leaves, or its connection is lost.

    If the room is full by now, the link is closed with that reason. A participant that joins again
    and was replaced by another of its identity is told so.

    Args:
        parameters: The parameters with which the client joins or resumes.
        opening: Awaited before the participant is active; None for links that carry packets at
            once.
    """
    backend = concurrency.current()
    if parameters.resumption is not None:
        await _resume(backend, admission, link, claims, parameters.resumption)
        return
    await _wait_until_told_of_others(backend, admission.members_of(claims.grants.room))
    try:
        extra = None if opening is None else opening.join
        room, member = admission.join(claims, parameters.client, link, parameters.last_sid, extra)
    except ReplacedError as error:
        leave = leave_request(DisconnectReason.DUPLICATE_IDENTITY, joins_again=False)
        await _refuse(link, leave, error.reason)
        return
    except RefusedError as error:
        await link.aclose(error.reason)
        return
    if opening is not None:
        opening.on_joined(room, member)
    logger.info("%s joined room %r as %r", member.sid, room.name, member.identity)
    await _serve_connection(backend, admission, claims, room, member, link, opening)


async def _resume(
    backend: Backend,
    admission: Admission,
    link: ServedLink,
    claims: Claims,
    resumption: Resumption,
) -> None:
    """Resume a member's session over another link, or have its client join again.

    The previous link may not be known to be lost yet, as after a change of network.
    """
    try:
        room, member = admission.find_session(claims, resumption.sid)
        while not member.is_detached:
            # Of several connections that resume at the same time, the last one wins.
            await member.on_replaced("it came back over another connection")
            room, member = admission.find_session(claims, resumption.sid)
        room.resume(member, link, resumption.last_numbers)
    except (RefusedError, NotRetainedError) as error:
        logger.info("refused to resume %s: %s", resumption.sid, error)
        leave = leave_request(DisconnectReason.STATE_MISMATCH, joins_again=True)
        await _refuse(link, leave, str(error))
        return
    except LinkClosedError:
        return
    logger.info("%s came back to room %r", member.sid, room.name)
    await _serve_connection(backend, admission, claims, room, member, link)


async def _refuse(link: ServedLink, leave: rtc.LeaveRequest, why: str) -> None:
    with suppress(LinkClosedError, LinkFullError):
        link.send_nowait(signal_frame(rtc.SignalResponse(leave=leave)))
    await link.aclose(why)


async def _serve_connection(
    backend: Backend,
    admission: Admission,
    claims: Claims,
    room: ServerRoom,
    member: Member,
    link: ServedLink,
    opening: Opening | None = None,
) -> None:
    """Serve a member over a link; at the end, the member is detached or has left."""
    tokens = admission.refresher(claims, member)
    connection = MemberConnection(backend, admission.limits, room, member, link, tokens)
    try:
        with backend.cancel_scope() as scope:
            member.on_disconnect = scope.cancel
            member.on_replaced = connection.replace
            async with concurrency.open_service_nursery() as nursery:
                member.backlog.on_waiter = partial(connection.on_waiter, nursery)
                if member.backlog.has_waiters:
                    # They began to wait before the member resumed.
                    member.backlog.on_waiter()
                nursery.start_soon(connection.watch)
                if opening is not None:
                    nursery.start_soon(_activate, backend, room, member, opening)
                try:
                    await connection.receive_requests()
                finally:
                    # Before the nursery is closed to new tasks
                    member.backlog.on_waiter = _nobody_relieves
                    if connection.lost_because is None:
                        member.backlog.close()
    finally:
        why = member.close_reason or connection.lost_because
        # A server that shuts down resumes nothing (L10).
        if connection.lost_because is None or member.close_reason is not None or admission.closed:
            member.backlog.close()
            room.leave(member)
            logger.info("%s left room %r: %s", member.sid, room.name, why or "it left")
        else:
            expires_at = backend.current_time() + admission.limits.resume_window
            room.detach(member, expires_at)
            logger.info("%s lost its connection: %s", member.sid, connection.lost_because)
        connection.over.set()
        await link.aclose(why or "")


def _nobody_relieves() -> None:
    """Do nothing: a detached member's waiters go on waiting, until it resumes or leaves (L6)."""


async def _activate(backend: Backend, room: ServerRoom, member: Member, opening: Opening) -> None:
    """Announce a member as active once packets reach it; disconnect it if that takes too long."""
    with backend.move_on_after(_OPEN_TIMEOUT):
        try:
            await opening.wait_open()
        except LinkClosedError:
            # The connection's receive loop gets the same error.
            return
        room.activate(member)
        return
    member.disconnect(
        DisconnectReason.JOIN_FAILURE,
        f"its data channel was not open after {_OPEN_TIMEOUT:g} s",
    )


async def _wait_until_told_of_others(backend: Backend, members: Sequence[Member]) -> None:
    """Delay a joining participant while queues are full of updates about others (B8).

    The delay is bounded: those participants may never read.
    """
    with backend.move_on_after(_JOIN_PATIENCE):
        for member in members:
            backlog = member.backlog
            if member.send_queue.queued_bytes > backlog.announcement_limit:
                await wait_for_room(backend, backlog, 0, backlog.announcement_limit)
