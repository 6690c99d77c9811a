"""The supervisor of a session's connections (rules L1 and L2).

One task owns the loop: serve a connection until it ends, decide, wait, open another one. The
decisions are those of `reconnecting`. A task of its own holds each link open: closing a link whose
network is down takes a while, and the next link need not wait for that.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from attrs import frozen
from google.protobuf.message import DecodeError
from livekit.protocol import rtc

from ..concurrency import Backend, Event, Nursery
from ..errors import ConnectError, DisconnectReason
from ..links import Connector, Frame, Link, LinkClosedError
from ..protocol.logs import peer_logger
from .joining import NotResumedError, RejectedError, receive_join, receive_resumption
from .reconnecting import Ending, ReconnectPolicy, Recovery, Step

if TYPE_CHECKING:
    from .connection import Connection
    from .session import Session

logger = peer_logger(__name__)

#: An access token, or an async function that returns one, called before each connection.
TokenSource: TypeAlias = "str | Callable[[], Awaitable[str]]"

_UNAUTHORIZED: Final = frozenset({401, 403})


async def token_from(source: TokenSource, refreshed_token: str = "") -> str:
    """Return the access token to connect with.

    Args:
        refreshed_token: The last token from the server, used in place of a `str` (L11).
    """
    return (refreshed_token or source) if isinstance(source, str) else await source()


@frozen
class Dialer:
    """The way to the server, for the first connection and every further one.

    Attributes:
        connector: Opens the links.
        token: The access token, or its source.
        timeout: Seconds that opening a connection may take.
        policy: The policy for opening a lost connection again; None for never.
        auto_subscribe: Whether to receive the tracks of all others.
    """

    connector: Connector
    token: TokenSource
    timeout: float
    policy: ReconnectPolicy | None
    auto_subscribe: bool


@frozen
class _Failure:
    """The failure of an attempt to open a connection.

    Attributes:
        ending: The way it failed, which decides the next step (L2).
        reason, text: The reason, if that is the end of the session.
    """

    ending: Ending
    reason: DisconnectReason = DisconnectReason.UNKNOWN_REASON
    text: str = ""


class Supervisor:
    """The task that keeps a session connected.

    Args:
        session: The session, which is connected.
        dialer: The way to the server.
        link_nursery: Holds links open; it outlives the session.
    """

    def __init__(
        self, backend: Backend, session: Session, dialer: Dialer, link_nursery: Nursery
    ) -> None:
        self._backend = backend
        self._session = session
        self._dialer = dialer
        self._link_nursery = link_nursery
        # The beginning of the present connection; -inf for the first, which no loss came before
        self._connected_at = -math.inf
        self._sent_away = 0
        # That of the present connection, unless it is the first
        self._holder: _LinkHolder | None = None

    async def run(self, early_frames: list[Frame]) -> None:
        """Serve the session's connections until the session is over.

        Args:
            early_frames: The frames that came together with the server's `JoinResponse`.
        """
        frames: list[Frame] | None = early_frames
        while frames is not None:
            await self._session.connection.serve(frames)
            frames = None if self._session.is_over else await self._reconnect()

    async def _reconnect(self) -> list[Frame] | None:
        """Open another connection; without one in time, the room is lost.

        Returns:
            The frames that came with the server's answer; None if the room is lost.
        """
        end, policy = self._session.connection_end, self._dialer.policy
        assert end is not None
        assert policy is not None
        self._link_nursery.start_soon(_abandon, self._session.connection, self._holder)
        now = self._backend.current_time()
        is_soon = now - self._connected_at < policy.cap
        is_sent_away = is_soon and end.ending in (Ending.RECONNECT, Ending.LOST_FOR_GOOD)
        self._sent_away = self._sent_away + 1 if is_sent_away else 0
        recovery = Recovery(policy, now, sent_away=self._sent_away)
        step, delay = recovery.after(end.ending)
        reason, why = end.reason, f"not restored within {policy.give_up_after:g} s"
        with self._backend.cancel_scope(deadline=recovery.give_up_at):
            while step is not Step.END:
                await self._backend.sleep(delay)
                outcome = await self._attempt(step)
                if not isinstance(outcome, _Failure):
                    self._connected_at = self._backend.current_time()
                    return outcome
                step, delay = recovery.after(outcome.ending)
                if step is Step.END:
                    reason, why = outcome.reason, outcome.text
        self._session.lose(reason, f"{end.text}; {why}")
        return None

    async def _attempt(self, step: Step) -> list[Frame] | _Failure:
        """Make one attempt to resume, or to rejoin.

        Returns:
            The frames that came with the server's answer, or the failure of the attempt.
        """
        holder = _LinkHolder(self._backend)
        succeeded = False
        try:
            with self._backend.move_on_after(self._dialer.timeout):
                token = await token_from(self._dialer.token, self._session.state.refreshed_token)
                resumes = step is Step.RESUME
                session = self._session
                request = (
                    session.resume_request()
                    if resumes
                    else session.rejoin_request(auto_subscribe=self._dialer.auto_subscribe)
                )
                self._link_nursery.start_soon(holder.hold, self._dialer.connector, token, request)
                link = await holder.wait_open()
                if resumes:
                    answer, frames = await receive_resumption(link)
                    self._session.resume(link, answer)
                else:
                    join, frames = await receive_join(link)
                    self._session.rejoin(link, join)
                self._holder = holder
                succeeded = True
                return frames
        except NotResumedError:
            return _Failure(Ending.RECONNECT)
        except RejectedError as error:
            return _Failure(Ending.FINAL, error.reason, str(error))
        except ConnectError as error:
            logger.info("no connection: %s", error)
            ending = Ending.LOST
            if error.status in _UNAUTHORIZED:
                ending = Ending.UNAUTHORIZED
                # The program's own may live longer: a machine may have slept for hours.
                self._session.state.refreshed_token = ""
            return _Failure(ending, DisconnectReason.JOIN_FAILURE, str(error))
        except (LinkClosedError, ValueError, DecodeError) as error:
            logger.info("no connection: %s", error)
        except Exception:
            # A failure of the program's connector or source of tokens: the next try may succeed.
            logger.exception("opening a connection failed")
        finally:
            if not succeeded:
                holder.release()
        return _Failure(Ending.LOST)


async def _abandon(connection: Connection, holder: _LinkHolder | None) -> None:
    await connection.abandon()
    if holder is not None:
        holder.release()


class _LinkHolder:
    """A task that opens a link, and keeps it open until it is released or cancelled."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._scope = backend.cancel_scope()
        self._done: Event = backend.event()
        self._link: Link | None = None
        self._error: Exception | None = None

    async def hold(self, connector: Connector, token: str, request: rtc.JoinRequest) -> None:
        """Open the link, and close it when that is released."""
        try:
            with self._scope:
                async with connector.open_link(token, request) as self._link:
                    self._done.set()
                    await self._backend.sleep_forever()
        except Exception as error:
            if self._done.is_set():
                logger.exception("closing a link failed")
            self._error = error
        finally:
            self._done.set()

    async def wait_open(self) -> Link:
        """Return the link once it is open, or raise what opening it raised."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        if self._link is None:
            raise ConnectError("the link was released before it was open")
        return self._link

    def release(self) -> None:
        """Close the link, or stop opening it."""
        self._scope.cancel()
