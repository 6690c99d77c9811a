"""Ourselves in a room: calling methods, answering to them, and publishing data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NoReturn, overload

from livekit.protocol import models

from ..errors import (
    DisconnectedError,
    PublishDataError,
    PublishDTMFError,
    PublishTrackError,
    PublishTranscriptionError,
    RpcError,
    SignalRequestError,
)
from ..events.data import Transcription
from ..links import LinkClosedError
from ..participant import DEFAULT_RESPONSE_TIMEOUT, LocalTrack, LocalTrackPublication
from ..protocol.bounds import check_bounds
from ..protocol.retry import Retry
from ..rpc.call_arguments import check_call
from ..rpc.interceptors import RpcCallInfo, RpcInterceptor, chain_outgoing
from ..rpc.methods import H, MethodRegistry
from .data_packets import dtmf_packet, transcription_packet, user_packet
from .outbound import Outbound
from .retrying import retried
from .stream_sender import StreamSender, identities
from .tracks.options import TrackPublishOptions

#: The digits on the keys of a telephone.
_DTMF_DIGITS: Final = "0123456789*#ABCD"


class LocalParticipant(StreamSender):
    """Ourselves in a room; see `Room.local_participant`."""

    def __init__(
        self, info: models.ParticipantInfo, registry: MethodRegistry, outbound: Outbound
    ) -> None:
        super().__init__(info, outbound)
        self._registry = registry

    # Calls

    async def perform_rpc(
        self,
        *,
        destination_identity: str,
        method: str,
        payload: str,
        response_timeout: float | None = None,
        max_round_trip_latency: float | None = None,
        wait_for_ready: bool = True,
        retry: Retry | None = None,
        request_id: str | None = None,
        accepts: Sequence[str] = (),
    ) -> str:
        """Call a method of another participant and wait for its response.

        Cancelling the call also cancels the handler, if the callee uses this library too. Any
        number of calls may run at the same time.

        Args:
            destination_identity: The identity of the callee.
            method: The name of the method, 1 to 64 UTF-8 bytes.
            payload: The argument, in any format that both sides use: at most 15,360 UTF-8 bytes,
                or `Room(max_payload_bytes=…)` if the callee speaks RPC v2.
            response_timeout: Seconds that the whole call may take: sending, network, handler and
                response; 10 unless given. The handler gets a little less.
            max_round_trip_latency: Seconds in which the callee must acknowledge the call; unless
                given, those of `Room`.
            wait_for_ready: Whether to wait: while the connection is lost, until it is restored;
                after a restart of the server, until the callee is back; and on LiveKit's servers,
                which announce participants late, for those that are not in the room yet. The
                waiting counts against `response_timeout`. Otherwise the call fails with 1505 or
                1401.
            retry: The policy for calling again after some errors; None for never (T4). The timeout
                is the total over all attempts.
            request_id: The id of the call, of 1 to 128 UTF-8 bytes, which no other call may have; a
                random one unless given.
            accepts: The kinds of streams that we accept besides the response (T8, T9), which a
                callee that speaks RPC v2 is told.

        Returns:
            The result of the handler.

        Raises:
            RpcError: the handler raised it, or the call failed with one of `RpcError.ErrorCode`,
                and details in `data`.
            TypeError: `method` or `payload` is not a `str`.
            ValueError: `method` is empty or too long, `response_timeout` not above 0, or there are
                `request_id` and `retry`, though each attempt is a call of its own; or another call
                in flight has the `request_id`.

        Source: LiveKit's documentation of remote method calls; rules C1 to C14.
        """
        if retry is not None and request_id is not None:
            raise ValueError("the attempts of a retried call cannot have the same request_id")
        options = wait_for_ready, retry, request_id, " ".join(accepts) if accepts else ""
        if not self._registry.interceptors:
            call = destination_identity, method, payload, response_timeout, max_round_trip_latency
            return await self._perform(*call, *options)

        async def perform(call: RpcCallInfo) -> str:
            return await self._perform(*_arguments(call), *options)

        return await chain_outgoing(self._registry.interceptors, perform)(
            RpcCallInfo(
                destination_identity, method, payload, response_timeout, max_round_trip_latency
            )
        )

    def _perform(
        self,
        destination_identity: str,
        method: str,
        payload: str,
        response_timeout: float | None,
        max_round_trip_latency: float | None,
        wait_for_ready: bool,
        retry: Retry | None,
        request_id: str | None,
        accepts: str,
    ) -> Awaitable[str]:
        """Validate a call, and return what makes it when it is awaited."""
        outbound = self._outbound
        if response_timeout is None:
            response_timeout = DEFAULT_RESPONSE_TIMEOUT
        size = check_call(method, payload, response_timeout, max_round_trip_latency, request_id)
        if retry is not None:

            def attempt(seconds: float) -> Awaitable[str]:
                options = max_round_trip_latency, wait_for_ready, None, request_id, accepts
                return self._perform(destination_identity, method, payload, seconds, *options)

            return retried(retry, response_timeout, attempt)
        if outbound.disconnection is not None:
            return self._fail_disconnected(outbound.disconnection)
        if not outbound.carries_rpc:
            raise RpcError.built_in(
                RpcError.ErrorCode.UNSUPPORTED_SERVER,
                f"the server has version {outbound.server_version}, RPC needs 1.8.0",
            )
        if not self.permissions.may_send:
            denied_reason = self.permissions.publish_denied_reason(self.identity)
            raise RpcError.built_in(RpcError.ErrorCode.SEND_FAILED, denied_reason)
        call = method, payload, size, response_timeout
        options = wait_for_ready, max_round_trip_latency, request_id, accepts
        callee = outbound.remote_participants.get(destination_identity)
        if callee is not None:
            return outbound.calls.perform(callee, *call, *options)
        return self._perform_late(destination_identity, *call, *options)

    async def _perform_late(
        self,
        destination_identity: str,
        method: str,
        payload: str,
        size: int,
        response_timeout: float,
        wait_for_ready: bool,
        *options: *tuple[float | None, str | None, str],
    ) -> str:
        """Call a participant that is not in the room, if it comes in time (C7, L9)."""
        if destination_identity == self.identity:
            raise _not_found(f"{self.identity!r} cannot call itself")
        outbound, callee = self._outbound, None
        started = outbound.current_time()
        if wait_for_ready:
            callee = await outbound.missing_callee(destination_identity, response_timeout)
            if outbound.disconnection is not None:
                await self._fail_disconnected(outbound.disconnection)
        if callee is None:
            what = f"no participant {destination_identity!r} is in room {outbound.room_name!r}"
            raise _not_found(what)
        response_timeout -= outbound.current_time() - started
        call = method, payload, size, response_timeout
        return await outbound.calls.perform(callee, *call, wait_for_ready, *options)

    async def _fail_disconnected(self, gone: DisconnectedError) -> NoReturn:
        # A cancellation comes first.
        await self._outbound.checkpoint()
        code = RpcError.ErrorCode.RECIPIENT_DISCONNECTED
        raise RpcError.built_in(code, str(gone)) from gone

    def add_rpc_interceptor(self, interceptor: RpcInterceptor) -> None:
        """Add an interceptor; see `Room.add_rpc_interceptor`."""
        self._registry.add_interceptor(interceptor)

    def remove_rpc_interceptor(self, interceptor: RpcInterceptor) -> None:
        """Remove an interceptor; see `Room.remove_rpc_interceptor`."""
        self._registry.remove_interceptor(interceptor)

    @overload
    def register_rpc_method(self, method_name: str, handler: H) -> H: ...
    @overload
    def register_rpc_method(self, method_name: str, handler: None = None) -> Callable[[H], H]: ...
    def register_rpc_method(
        self, method_name: str, handler: H | None = None
    ) -> H | Callable[[H], H]:
        """Register the handler of a method; see `Room.register_rpc_method`."""
        return self._registry.register_or_decorate(method_name, handler)

    def unregister_rpc_method(self, method: str) -> None:
        """Remove the handler of a method; running invocations finish.

        Raises:
            KeyError: there is no such method.
        """
        self._registry.unregister(method)

    # Data

    async def publish_data(
        self,
        payload: bytes | str,
        *,
        reliable: bool = True,
        destination_identities: Sequence[str] | None = None,
        topic: str = "",
    ) -> None:
        """Send data to others, without a response.

        Args:
            payload: The data; a `str` is sent as UTF-8. The packet, with identities and topic, has
                at most 64,000 bytes.
            reliable: Whether delivery is reliable and ordered, or best-effort.
            destination_identities: The receivers; empty for everybody in the room.
            topic: The topic, free to choose.

        Raises:
            PublishDataError: the data is too large, we may not send data, or we are not in the room
                any more.
        """
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        destinations = identities(destination_identities)
        packet = user_packet(data, reliable=reliable, destinations=destinations, topic=topic)
        await self._publish(packet, PublishDataError)

    async def publish_dtmf(self, *, code: int, digit: str) -> None:
        """Send everybody a key pressed on a telephone.

        Args:
            code: The number of the key, 0 to 15.
            digit: The key as it is printed, `"0"` to `"9"`, `"*"`, `"#"`, `"A"` to `"D"`.

        Raises:
            PublishDTMFError: we may not send data, or we are not in the room any more.
            ValueError: there is no such key.
        """
        if code not in range(16) or len(digit) != 1 or digit not in _DTMF_DIGITS:
            raise ValueError(f"no telephone has a key of code {code!r} and digit {digit!r}")
        await self._publish(dtmf_packet(code, digit), PublishDTMFError)

    async def publish_transcription(self, transcription: Transcription) -> None:
        """Send everybody a transcription.

        Raises:
            PublishTranscriptionError: it is too large, we may not send data, or we are not in the
                room any more.
        """
        await self._publish(transcription_packet(transcription), PublishTranscriptionError)

    # Tracks

    async def publish_track(
        self, track: LocalTrack, options: TrackPublishOptions | None = None
    ) -> LocalTrackPublication:
        """Publish a track, on one of LiveKit's servers; ours carry data alone.

        After a rejoin, it is published again, and the event `local_track_republished` has its new
        SID.

        Args:
            track: The track, which is not published yet.
            options: Its source, and more.

        Raises:
            PublishTrackError: the server refused, did not answer, or carries no media; we lack the
                grant `canPublish`; the track is published already; 100 others are; or we are not in
                the room any more.
        """
        if not self.permissions.can_publish:
            await self._outbound.checkpoint()
            raise PublishTrackError(f"{self.identity!r} lacks the grant canPublish")
        return await self._outbound.publishing.publish(track, options or TrackPublishOptions())

    async def unpublish_track(self, track_sid: str) -> None:
        """Withdraw a track that we have published.

        Args:
            track_sid: The SID of its publication.

        Raises:
            UnpublishTrackError: no track of ours is published with it.
        """
        await self._outbound.checkpoint()
        self._outbound.publishing.unpublish(track_sid)

    @property
    def track_publications(self) -> Mapping[str, LocalTrackPublication]:
        """The tracks that we have published, by SID: a view, which changes as they come and go."""
        return self._outbound.publishing.publications

    # Our description for others

    async def set_metadata(self, metadata: str) -> None:
        """Change our metadata, and wait until the server has announced it.

        Raises:
            SignalRequestError: we lack the grant `canUpdateOwnMetadata`, the text is too large, or
                the server did not answer.
        """
        await self._update(metadata=metadata)

    async def set_name(self, name: str) -> None:
        """Change the name that people see; otherwise as `set_metadata`."""
        await self._update(name=name)

    async def set_attributes(self, attributes: dict[str, str]) -> None:
        """Change some of our attributes; otherwise as `set_metadata`.

        Args:
            attributes: The attributes to change; an empty text deletes the key, and other keys are
                left unchanged.
        """
        await self._update(attributes=attributes)

    async def _update(
        self,
        *,
        metadata: str | None = None,
        name: str | None = None,
        attributes: dict[str, str] | None = None,
    ) -> None:
        if not self.permissions.can_update_metadata:
            raise SignalRequestError(
                f"NOT_ALLOWED: the token of {self.identity!r} lacks the grant canUpdateOwnMetadata",
                reason="NOT_ALLOWED",
            )
        await self._outbound.own_changes.make(
            self, metadata=metadata, name=name, attributes=attributes
        )

    async def _publish(self, packet: models.DataPacket, failure: type[PublishDataError]) -> None:
        if (gone := self._outbound.disconnection) is not None:
            await self._outbound.checkpoint()
            raise failure(f"not sent: {gone}") from gone
        if denied_reason := self.permissions.publish_denied_reason(self.identity):
            raise failure(denied_reason)
        try:
            check_bounds(packet, packet.WhichOneof("value") or "", packet.ByteSize())
            await self._outbound.packet_sender.send(packet)
        except LinkClosedError as error:
            raise failure(f"not sent: {error}") from error
        except ValueError as error:
            raise failure(f"not sent: {error}") from None


def _not_found(what: str) -> RpcError:
    return RpcError.built_in(RpcError.ErrorCode.RECIPIENT_NOT_FOUND, what)


def _arguments(call: RpcCallInfo) -> tuple[str, str, str, float | None, float | None]:
    return (
        call.destination_identity,
        call.method,
        call.payload,
        call.response_timeout,
        call.max_round_trip_latency,
    )
