"""A server that does as LiveKit's does, for one participant, as far as a test does not tamper."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import anyio.abc
from anyio.streams.memory import MemoryObjectSendStream
from attrs import define, field
from livekit.protocol import models, rtc
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from trio_rpc import VideoFrame, concurrency
from trio_rpc.links import Channel, Frame, LinkClosedError
from trio_rpc.links.frames import decode_frames, encode_frames
from trio_rpc.server import PeerThread, open_peer_thread
from trio_rpc.webrtc.reports import Described
from trio_rpc.webrtc.stream import PeerStream

from ...support.waiting import wait_until
from ..web import serve_app
from .media_server import Media, MediaPeer, published

#: Changes a message, or takes it away.
Tamper = Callable[[rtc.SignalResponse], rtc.SignalResponse | None]


def info(
    identity: str, sid: str, state: models.ParticipantInfo.State = models.ParticipantInfo.ACTIVE
) -> models.ParticipantInfo:
    return models.ParticipantInfo(
        identity=identity,
        sid=sid,
        state=state,
        client_protocol=2,
        permission=models.ParticipantPermission(
            can_publish=True, can_publish_data=True, can_subscribe=True, can_update_metadata=True
        ),
    )


@define(eq=False)
class ScriptedLiveKit:
    """The server.

    Attributes:
        others: The participants that it announces.
        tamper: Changes what it says.
        refusal: The status and text with which it refuses to resume, if it does.
        reconnects: What it says first to a client that resumes; by default, that it may.
        requests: The requests to join and to resume, in order.
        signals: The other requests, in order.
        packets: The packets that have come.
        answers_pings: Whether it answers pings.
        ping_timeout: The timeout that it announces.
        media: The audio of the client that has joined last.
        track_refusal: The text with which it refuses tracks, if it does.
        answers_tracks: Whether it answers requests to publish tracks.
    """

    thread: PeerThread
    others: list[models.ParticipantInfo] = field(factory=list)
    tamper: Tamper = lambda response: response
    refusal: tuple[int, str] | None = None
    reconnects: rtc.SignalResponse = field(
        factory=lambda: rtc.SignalResponse(reconnect=rtc.ReconnectResponse())
    )
    ice_servers: list[rtc.ICEServer] = field(factory=list)
    answers_pings: bool = True
    ping_timeout: int = 15
    media: Media = field(factory=Media)
    track_refusal: str = ""
    answers_tracks: bool = True
    requests: list[rtc.JoinRequest] = field(factory=list)
    tokens: list[str] = field(factory=list)
    signals: list[rtc.SignalRequest] = field(factory=list)
    packets: list[models.DataPacket] = field(factory=list)
    _streams: list[PeerStream] = field(factory=list)
    _outgoing: MemoryObjectSendStream[rtc.SignalResponse] | None = None
    _sequence: int = 0

    def say(self, response: rtc.SignalResponse) -> None:
        """Send a message over the present WebSocket, if there is one."""
        changed = self.tamper(response)
        if changed is not None and self._outgoing is not None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                self._outgoing.send_nowait(changed)

    def is_connected(self) -> bool:
        """Whether the data channel of the last to join is open."""
        return self._streams[-1].is_open

    def hang_up(self) -> None:
        """Close the present WebSocket."""
        assert self._outgoing is not None
        self._outgoing.close()

    def announce(self, *infos: models.ParticipantInfo) -> None:
        self.say(rtc.SignalResponse(update=rtc.ParticipantUpdate(participants=infos)))

    async def send(self, packet: models.DataPacket) -> None:
        """Send a packet over the data channel."""
        frame = Frame(Channel.RELIABLE, packet.SerializeToString())
        await self._streams[-1].send_message(encode_frames([frame]))

    def lose_transport(self) -> None:
        """End the peer connection."""
        self._streams[-1].end("lost")

    async def wait_signal(self, kind: str, number: int = 1) -> Any:
        """Wait for the first, second, … request of a kind."""

        def found() -> list[Any]:
            return [getattr(each, kind) for each in self.signals if each.HasField(kind)]

        await wait_until(lambda: len(found()) >= number)
        return found()[number - 1]

    async def serve(self, websocket: WebSocket) -> None:
        text = websocket.query_params["join_request"]
        wrapped = rtc.WrappedJoinRequest.FromString(base64.urlsafe_b64decode(text))
        request = rtc.JoinRequest.FromString(wrapped.join_request)
        self.requests.append(request)
        if self.refusal is not None and request.reconnect:
            status, reason = self.refusal
            await websocket.send_denial_response(PlainTextResponse(reason, status_code=status))
            return
        self.tokens.append(websocket.headers["authorization"].removeprefix("Bearer "))
        await websocket.accept()
        self._outgoing, to_send = anyio.create_memory_object_stream[rtc.SignalResponse](math.inf)
        with self._outgoing, to_send:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(self._write, websocket, to_send)
                await self._converse(websocket, request)
                task_group.cancel_scope.cancel()

    async def _write(self, websocket: WebSocket, to_send: Any) -> None:
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            async for response in to_send:
                await websocket.send_bytes(response.SerializeToString())
                if response.HasField("leave"):
                    break
            await websocket.close()

    async def _converse(self, websocket: WebSocket, request: rtc.JoinRequest) -> None:
        if request.reconnect:
            self.say(self.reconnects)
            if self.reconnects.HasField("reconnect"):
                self.announce(*self.others)
        else:
            await self._join()
        self.say(rtc.SignalResponse(refresh_token=f"refreshed.{len(self.requests)}.x"))
        stream = self._streams[-1]
        with suppress(WebSocketDisconnect, RuntimeError, KeyError):
            while True:
                self._on_signal(rtc.SignalRequest.FromString(await websocket.receive_bytes()))
        if not stream.is_open or (self.signals and self.signals[-1].HasField("leave")):
            # It has left, or never came.
            stream.end("the client has left")

    async def _join(self) -> None:
        await self.thread.start()
        sid = f"PA_{len(self.requests)}"
        join = rtc.JoinResponse(
            room=models.Room(name="the room", sid="RM_1"),
            participant=info("alice", sid, models.ParticipantInfo.JOINING),
            other_participants=self.others,
            server_info=models.ServerInfo(version="1.13.5"),
            ping_interval=5,
            ping_timeout=self.ping_timeout,
            ice_servers=self.ice_servers,
        )
        self.say(rtc.SignalResponse(join=join))
        stream = PeerStream(concurrency.current(), self.thread, self._tell)
        self.media = Media(self.media.hertz, self.media.pictures)
        stream.start(
            partial(
                MediaPeer,
                media=self.media,
                subscriber_primary=False,
                addresses=(),
                consent_timeout=15,
            )
        )
        self._streams.append(stream)
        self.nursery.start_soon(self._read, stream)

    def _tell(self, described: Described) -> None:
        """Answer an offer as LiveKit does: the addresses come by themselves, and later."""
        lines = described.sdp.splitlines(keepends=True)
        candidates = [line for line in lines if line.startswith("a=candidate")]
        answer = described.description
        answer.sdp = "".join(
            line for line in lines if not line.startswith(("a=candidate", "a=end-of-cand"))
        )
        answer.mid_to_track_id.update(self.media.sids)
        self.say(rtc.SignalResponse(answer=answer))
        for line in candidates:
            text = line.strip().removeprefix("a=")
            init = json.dumps({"candidate": f"{text} ufrag x", "sdpMid": "0", "sdpMLineIndex": 0})
            self.say(rtc.SignalResponse(trickle=rtc.TrickleRequest(candidateInit=init)))

    nursery: anyio.abc.TaskGroup = field(init=False)

    async def _read(self, stream: PeerStream) -> None:
        with suppress(LinkClosedError):
            while True:
                for _, body in decode_frames(await stream.receive_message()):
                    packet = models.DataPacket.FromString(body)
                    self.packets.append(packet)
                    await self._acknowledge(packet)

    async def _acknowledge(self, packet: models.DataPacket) -> None:
        """Answer calls of version 1, as the callee, with the payload."""
        if not packet.HasField("rpc_request"):
            return
        request = packet.rpc_request
        [callee] = packet.destination_identities
        for answer in (
            models.DataPacket(rpc_ack=models.RpcAck(request_id=request.id)),
            models.DataPacket(
                rpc_response=models.RpcResponse(request_id=request.id, payload=request.payload)
            ),
        ):
            answer.participant_identity = callee
            await self.send(answer)

    def _on_signal(self, request: rtc.SignalRequest) -> None:
        self.signals.append(request)
        match request.WhichOneof("message"):
            case "offer":
                self._streams[-1].describe(request)
            case "ping_req" if self.answers_pings:
                pong = rtc.Pong(last_ping_timestamp=request.ping_req.timestamp)
                self.say(rtc.SignalResponse(pong_resp=pong))
            case "add_track" if self.answers_tracks:
                self._publish(request.add_track)
            case "update_metadata":
                response = rtc.RequestResponse(request_id=request.update_metadata.request_id)
                self.say(rtc.SignalResponse(request_response=response))
            case "leave":
                leave = rtc.LeaveRequest(reason=models.CLIENT_INITIATED)
                self.say(rtc.SignalResponse(leave=leave))
            case _:
                pass

    def _publish(self, request: rtc.AddTrackRequest) -> None:
        if self.track_refusal:
            refusal = rtc.RequestResponse(
                reason=rtc.RequestResponse.NOT_ALLOWED,
                message=self.track_refusal,
                add_track=request,
            )
            self.say(rtc.SignalResponse(request_response=refusal))
        else:
            self.say(published(request.cid, f"TR_{len(self.signals)}", request))

    def send_tone(self, sid: str, hertz: float) -> None:
        """Send a tone as a track of somebody, once the client offers to receive it."""
        self.media.hertz[sid] = hertz
        requirement = rtc.MediaSectionsRequirement(num_audios=1)
        self.say(rtc.SignalResponse(media_sections_requirement=requirement))

    def send_picture(self, sid: str, picture: VideoFrame) -> None:
        """Send a picture as a track of somebody, once the client offers to receive it."""
        self.media.pictures[sid] = picture
        requirement = rtc.MediaSectionsRequirement(num_videos=1)
        self.say(rtc.SignalResponse(media_sections_requirement=requirement))

    def end(self) -> None:
        for stream in self._streams:
            stream.end("over")


@asynccontextmanager
async def scripted_livekit() -> AsyncIterator[tuple[ScriptedLiveKit, str]]:
    """Run the server for the block; yields it and its URL."""
    async with open_peer_thread() as thread, anyio.create_task_group() as task_group:
        server = ScriptedLiveKit(thread)
        server.nursery = task_group
        app = Starlette(routes=[WebSocketRoute("/rtc/v1", server.serve)])
        async with serve_app(app) as url:
            yield server, url
        server.end()
        task_group.cancel_scope.cancel()
