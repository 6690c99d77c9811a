"""A participant in Python, whose names are the same in LiveKit's SDK and in trio_rpc.

It runs with old versions of the SDK too, in an environment that has nothing else.
"""

from __future__ import annotations

import array
import itertools
import json
import math
import sys
from typing import Any

#: Samples of audio in a second.
RATE = 48_000
METHODS = ("echo", "describe", "size", "repeat", "fail", "crash", "hang", "number")


def write(**message: Any) -> None:
    """Tell the test."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Participant:
    """A participant that describes itself, answers to methods, and obeys commands.

    Args:
        rtc: The module of the SDK.
        start_soon: Starts a task.
        sleep_forever: Waits until it is cancelled.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        identity: str,
        rtc: Any,
        room: Any,
        start_soon: Any,
        sleep_forever: Any,
        sleep: Any,
    ) -> None:
        self.identity = identity
        self.room = room
        self._rtc = rtc
        self._start_soon = start_soon
        self._sleep_forever = sleep_forever
        self._sleep = sleep
        self._tracks: dict[str, Any] = {}
        for event in (
            "participant_connected",
            "participant_disconnected",
            "participant_active",
            "participant_metadata_changed",
            "participant_name_changed",
            "participant_attributes_changed",
            "disconnected",
            "data_received",
            "track_subscribed",
            "track_subscription_failed",
            "track_unpublished",
        ):
            room.on(event, getattr(self, f"_on_{event}"))
        room.register_text_stream_handler("text", self._on_text)

    def report(self, event: str, **fields: Any) -> None:
        """Tell the test what happened."""
        write(participant=self.identity, event=event, **fields)

    # Events

    def _on_participant_connected(self, who: Any) -> None:
        self.report("sees", who=who.identity)

    def _on_participant_disconnected(self, who: Any) -> None:
        self.report("lost", who=who.identity)

    def _on_participant_active(self, who: Any) -> None:
        self.report("active", who=who.identity)

    def _on_participant_metadata_changed(self, who: Any, _old: str, new: str) -> None:
        self.report("metadata", who=who.identity, value=new)

    def _on_participant_name_changed(self, who: Any, _old: str, new: str) -> None:
        self.report("name", who=who.identity, value=new)

    def _on_participant_attributes_changed(self, changed: dict[str, str], who: Any) -> None:
        self.report("attributes", who=who.identity, value=dict(changed))

    def _on_disconnected(self, reason: Any) -> None:
        # An `IntEnum` here, a number of protobuf's there.
        name = getattr(reason, "name", None) or self._rtc.DisconnectReason.Name(reason)
        self.report("disconnected", reason=name)

    def _on_data_received(self, packet: Any) -> None:
        self.report(
            "data",
            who=packet.participant.identity if packet.participant else None,
            payload=packet.data.decode(),
            topic=packet.topic or "",
            reliable=packet.kind == self._rtc.DataPacketKind.KIND_RELIABLE,
        )

    def _on_track_subscribed(self, track: Any, publication: Any, who: Any) -> None:
        self._tracks[who.identity] = track
        self.report("subscribed", who=who.identity, name=publication.name)

    def _on_track_subscription_failed(self, who: Any, _sid: str, error: str) -> None:
        self.report("not subscribed", who=who.identity, error=error)

    def _on_track_unpublished(self, publication: Any, who: Any) -> None:
        self.report("unpublished", who=who.identity, name=publication.name)

    def _on_text(self, reader: Any, sender: str) -> None:
        async def read() -> None:
            self.report("text", who=sender, text=await reader.read_all())

        self._start_soon(read)

    # Methods

    def register_methods(self, registry: Any) -> None:
        """Answer to all methods."""
        for method in METHODS:
            registry.register_rpc_method(method, getattr(self, f"_{method}"))

    async def _echo(self, data: Any) -> str:
        return str(data.payload)

    async def _describe(self, data: Any) -> str:
        return json.dumps(
            {
                "id": data.request_id,
                "caller": data.caller_identity,
                "payload": data.payload,
                "response_timeout": data.response_timeout,
            }
        )

    async def _size(self, data: Any) -> str:
        return str(len(data.payload.encode()))

    async def _repeat(self, data: Any) -> str:
        return "x" * int(data.payload)

    async def _fail(self, _data: Any) -> str:
        raise self._rtc.RpcError(4321, "out of milk", '{"left": 0}')

    async def _crash(self, _data: Any) -> str:
        raise ValueError("a secret")

    async def _hang(self, data: Any) -> str:
        self.report("invoked", who=data.caller_identity)
        await self._sleep_forever()
        raise AssertionError

    async def _number(self, _data: Any) -> Any:
        return 42

    # Commands

    async def do_call(self, to: str, method: str, payload: str, response_timeout: float) -> Any:
        return await self.room.local_participant.perform_rpc(
            destination_identity=to,
            method=method,
            payload=payload,
            response_timeout=response_timeout,
        )

    async def do_publish(self, payload: str, to: str, reliable: bool, topic: str) -> None:
        await self.room.local_participant.publish_data(
            payload, reliable=reliable, destination_identities=[to], topic=topic
        )

    async def do_send_text(self, text: str, to: str) -> None:
        await self.room.local_participant.send_text(text, topic="text", destination_identities=[to])

    async def do_set_metadata(self, metadata: str) -> None:
        await self.room.local_participant.set_metadata(metadata)

    async def do_set_name(self, name: str) -> None:
        await self.room.local_participant.set_name(name)

    async def do_set_attributes(self, attributes: dict[str, str]) -> None:
        await self.room.local_participant.set_attributes(attributes)

    async def do_reconnect_fully(self) -> None:
        kinds = getattr(self._rtc, "SimulateScenarioKind", None)
        full = "full-reconnect" if kinds is None else kinds.SIMULATE_FULL_RECONNECT
        await self.room.simulate_scenario(full)

    def _is_published(self, publication: Any) -> bool:
        left = self.room.connection_state == self._rtc.ConnectionState.CONN_DISCONNECTED
        return not left and publication.sid in self.room.local_participant.track_publications

    async def do_play(self, name: str, hertz: float) -> str:
        rtc = self._rtc
        source = rtc.AudioSource(RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track(name, source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await self.room.local_participant.publish_track(track, options)

        # A tenth of a second, in which a tone of whole tens of hertz comes round.
        frames = [
            [
                int(10_000 * math.sin(2 * math.pi * hertz * each / RATE))
                for each in range(start, start + RATE // 100)
            ]
            for start in range(0, RATE // 10, RATE // 100)
        ]

        async def play() -> None:
            for levels in itertools.cycle(frames):
                if not self._is_published(publication):
                    break
                data = array.array("h", levels).tobytes()
                await source.capture_frame(rtc.AudioFrame(data, RATE, 1, len(levels)))

        self._start_soon(play)
        return str(publication.sid)

    async def do_show(self, name: str, colour: list[int], **options: Any) -> str:
        rtc = self._rtc
        source = rtc.VideoSource(320, 240)
        track = rtc.LocalVideoTrack.create_video_track(name, source)
        if "codec" in options:
            options["video_codec"] = getattr(rtc.VideoCodec, options.pop("codec"))
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False, **options
        )
        publication = await self.room.local_participant.publish_track(track, options)
        pixels = bytes([*colour, 255]) * (320 * 240)

        async def show() -> None:
            while self._is_published(publication):
                source.capture_frame(rtc.VideoFrame(320, 240, rtc.VideoBufferType.RGBA, pixels))
                await self._sleep(0.1)

        self._start_soon(show)
        return str(publication.sid)

    async def do_see(self, who: str) -> list[int]:
        """Return the colour in the middle of somebody's picture, after some that are skipped."""
        stream = self._rtc.VideoStream(self._tracks[who], format=self._rtc.VideoBufferType.RGBA)
        frames = []
        async for event in stream:
            frames.append(event.frame)
            if len(frames) == 5:
                break
        await stream.aclose()
        frame = frames[-1]
        at = 4 * (frame.width * (frame.height // 2) + frame.width // 2)
        return list(frame.data[at : at + 3])

    async def do_unpublish(self, sid: str) -> None:
        await self.room.local_participant.unpublish_track(sid)

    async def do_hear(self, who: str) -> float:
        """Return the frequency of half a second of somebody's audio, after some that is skipped."""
        levels: list[int] = []
        stream = self._rtc.AudioStream(self._tracks[who])
        async for event in stream:
            levels += event.frame.data
            if len(levels) > RATE:
                break
        await stream.aclose()
        levels = levels[-RATE // 2 :]
        rises = sum(levels[each - 1] < 0 <= levels[each] for each in range(1, len(levels)))
        return rises * RATE / len(levels) if max(levels) > 1_000 else 0.0

    async def do_participants(self) -> dict[str, Any]:
        return {
            identity: {
                "name": who.name,
                "metadata": who.metadata,
                "attributes": dict(who.attributes),
            }
            for identity, who in self.room.remote_participants.items()
        }

    async def obey(self, do: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Run a command, and return its result."""
        try:
            return {"result": await getattr(self, f"do_{do}")(**arguments)}
        except self._rtc.RpcError as error:
            data = error.data or None
            return {"error": {"code": error.code, "message": error.message, "data": data}}
        except Exception as error:
            return {"failure": repr(error)}
