"""A server in memory that treats its participants as LiveKit's server does.

    Room ──► LiveKitLikeLink ──► a link in memory ──► LiveKitLikeServer, with LiveKitRooms

The link is for the participant what one over WebRTC is: the data channels open some time after the
server's `JoinResponse`, packets sent before do not count, and a loss can't be resumed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import ClassVar, Final

from attrs import evolve, frozen
from livekit.protocol import models, rtc

from .. import concurrency
from ..links import Channel, Connector, Frame, Link, LinkClosedError, LinkFullError, ServedLink
from ..links.framed import CLOSE_TIMEOUT
from ..links.leaving import leaving_on_failure
from ..links.media import MediaLink
from ..links.webrtc.joining import announcement, is_about_announcement
from ..links.webrtc.link import ROSTER_DELAY
from ..protocol.retained import RetainedPackets
from ..server import ServerLimits
from ..server.join_request import JoinParameters
from ..server.rooms.member import Member
from ..server.rooms.room import ServerRoom
from ..server.session import Opening, serve_member
from ..tokens import Claims
from .livekit_rooms import LiveKitRoom
from .rooms import InMemoryServer

#: Seconds until data channels are open; first on the server.
_SERVER_OPENING: Final = 0.045
OPENING_SECONDS: Final = 0.05


class LiveKitLikeServer(InMemoryServer):
    """An `InMemoryServer` that is as strict as LiveKit's server, and as late.

    A program that is tested with it meets what it will meet on a livekit-server 1.13.5:

    * Participants that publish no track are announced up to 3 seconds late. Those of this library
      announce themselves at once, but not those of LiveKit's SDKs: for these there is
      `unannounced`.
    * What cannot be delivered is dropped, and nobody is told: calls to nobody, and packets that
      `canPublishData` is missing for.
    * A packet whose number is not above that of the last one is dropped, with a log line.
    * Packets for a participant whose data channels are not open yet, which takes 50 ms, are lost
      if they have no number. The others are kept for 2 seconds at most.
    * A participant that is gone without having left is announced as such after 20 seconds, or with
      the next batch from then on. One that comes back joins again: no session is resumed.
    * `set_name("")` and `set_metadata("")` change nothing.

    On a socket, by `trio_rpc.server.serve`, packets pass at once, a participant whose link is lost
    is gone at once, and one that comes back before the server notices resumes its session.

    Args:
        limits: The limits of the server, in place of `default_limits`; to change only some of
            them, `attrs.evolve(LiveKitLikeServer.default_limits, max_rooms=2)`.

    Attributes:
        default_limits: The limits of LiveKit's server, where they matter to a program: 512 KiB of
            metadata, and 20 seconds until a participant that is lost is gone.
    """

    default_limits: ClassVar[ServerLimits] = ServerLimits(
        max_metadata_bytes=512 * 1024, resume_window=20.0
    )
    _room_type = LiveKitRoom

    def __init__(self, limits: ServerLimits | None = None) -> None:
        super().__init__(limits or self.default_limits)

    @property
    def unannounced(self) -> Connector:
        """A connector for participants that are announced late, as a browser's are.

        Pass it as `through`, or to a `FaultyNetwork`.
        """
        return _Unannounced(self._open_unannounced_link)

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncGenerator[Link]:
        """Open a link from within this process, for `Room.connect`.

        Raises:
            ConnectError: the token is not valid, or nobody is admitted.
        """
        async with self._open_unannounced_link(token, request) as link:
            with suppress(LinkClosedError):
                link.send_nowait(Frame(Channel.SIGNAL, announcement().SerializeToString()))
            yield link

    @asynccontextmanager
    async def _open_unannounced_link(
        self, token: str, request: rtc.JoinRequest
    ) -> AsyncGenerator[Link]:
        async with super().open_link(token, request) as link:
            like = LiveKitLikeLink(link)
            try:
                # The server may count the participant as active before its link is open.
                with leaving_on_failure(like):
                    await concurrency.current().sleep(OPENING_SECONDS)
                yield like
            finally:
                await like.aclose()

    async def _serve_link(
        self, link: ServedLink, claims: Claims, parameters: JoinParameters
    ) -> None:
        async def wait_open() -> None:
            await concurrency.current().sleep(_SERVER_OPENING)

        link.can_resume = False
        opening = Opening(rtc.JoinResponse(), wait_open, _on_joined)
        parameters = evolve(parameters, last_sid="")
        await serve_member(self.admission, link, claims, parameters, opening)


def _on_joined(room: ServerRoom, member: Member) -> None:
    assert isinstance(room, LiveKitRoom)
    room.kept.add(member)


@frozen
class _Unannounced:
    _open_link: Callable[[str, rtc.JoinRequest], AbstractAsyncContextManager[Link]]

    def open_link(self, token: str, request: rtc.JoinRequest) -> AbstractAsyncContextManager[Link]:
        return self._open_link(token, request)


class LiveKitLikeLink:
    """The `Link` of a participant of a `LiveKitLikeServer`.

    As over WebRTC, a `LeaveRequest` waits until all packets have been sent.
    """

    can_resume = False
    roster_delay = ROSTER_DELAY
    media: MediaLink | None = None

    def __init__(self, link: Link) -> None:
        self._link = link
        self.retained: RetainedPackets | None = None
        self._leave: Frame | None = None

    @property
    def queued_bytes(self) -> int:
        return self._link.queued_bytes

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:
        if frame.channel is Channel.RECEIPT:
            return
        if frame.channel is Channel.SIGNAL and _is_leave(frame.body):
            self._leave = frame
            return
        try:
            self._link.send_nowait(frame, flush_follows=flush_follows)
        except LinkClosedError:
            # A session that may go on joins again, without what was sent.
            if self.retained is None:
                raise

    def resend_nowait(self, frames: Iterable[Frame]) -> None:
        self._link.resend_nowait(frames)

    def flush_nowait(self) -> None:
        self._link.flush_nowait()

    async def wait_writable(self) -> None:
        await self._link.wait_writable()

    async def wait_sent(self) -> None:
        await self._link.wait_sent()

    async def receive(self) -> list[Frame]:
        while True:
            received = map(_as_received, await self._link.receive())
            if frames := [frame for frame in received if frame is not None]:
                return frames

    def discard_queued(self) -> None:
        self._link.discard_queued()

    async def aclose(self, reason: str = "") -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            with concurrency.current().move_on_after(CLOSE_TIMEOUT, shield=True):
                await self._link.wait_sent()
            with suppress(LinkClosedError, LinkFullError):
                self._link.send_nowait(leave)
        await self._link.aclose(reason)


def _is_leave(body: bytes) -> bool:
    return rtc.SignalRequest.FromString(body).HasField("leave")


def _as_received(frame: Frame) -> Frame | None:
    """Return a frame as a link over WebRTC does; None if it concerns the link alone."""
    if frame.channel is not Channel.SIGNAL:
        return frame
    response = rtc.SignalResponse.FromString(frame.body)
    if is_about_announcement(response):
        return None
    if response.HasField("join"):
        # The channels are open by now.
        response.join.participant.state = models.ParticipantInfo.ACTIVE
        return Frame(Channel.SIGNAL, response.SerializeToString())
    return frame
