"""A participant in Python, whose names are the same in LiveKit's SDK and in trio_rpc.

It runs with old versions of the SDK too, in an environment that has nothing else.
"""

from __future__ import annotations

import json
import sys
from typing import Any

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
    """

    def __init__(
        self, identity: str, rtc: Any, room: Any, start_soon: Any, sleep_forever: Any
    ) -> None:
        self.identity = identity
        self.room = room
        self._rtc = rtc
        self._start_soon = start_soon
        self._sleep_forever = sleep_forever
        for event in (
            "participant_connected",
            "participant_disconnected",
            "participant_active",
            "participant_metadata_changed",
            "participant_name_changed",
            "participant_attributes_changed",
            "disconnected",
            "data_received",
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
