"""One connection has much to say: the others have their turn all along."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from trio_rpc.server.frame_cutter import MAX_FRAMES
from trio_rpc.server.websocket import ServerWebSocket

from ..support.byte_streams import FullByteStream, bystander, largest_step

pytestmark = [pytest.mark.anyio, pytest.mark.rule("B7")]


# WebSocket frames


class CountingProtocol(ServerProtocol):
    """Counts the frames that it has parsed."""

    frames = 0

    def recv_frame(self, frame: Any) -> None:
        self.frames += 1
        super().recv_frame(frame)


def masked(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


PING = masked(Opcode.PING)
PONG = masked(Opcode.PONG)
MESSAGE = masked(Opcode.BINARY, b"x")
EMPTY_FRAGMENT = masked(Opcode.CONT, fin=False)


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (PING * 40_000 + MESSAGE, 1),
        (PONG * 40_000 + MESSAGE, 1),
        (
            masked(Opcode.BINARY, fin=False) + EMPTY_FRAGMENT * 40_000 + masked(Opcode.CONT, b"x"),
            1,
        ),
        ((PING * 31 + MESSAGE) * 1_000, 1_000),
        (MESSAGE * 40_000, 40_000),
    ],
    ids=["pings", "pongs", "empty fragments", "pings between messages", "messages"],
)
@pytest.mark.parametrize("early", [False, True], ids=["later", "with the handshake"])
async def test_tiny_frames_of_a_websocket(data: bytes, messages: int, early: bool) -> None:
    protocol = CountingProtocol(state=State.OPEN)
    websocket = ServerWebSocket(FullByteStream(b"" if early else data), protocol, 1.0)
    if early:
        websocket.feed(data)
    async with bystander(lambda: protocol.frames) as seen:
        for _ in range(messages):
            assert await websocket.receive() == b"x"
    assert largest_step([0, *seen, protocol.frames]) <= 2 * MAX_FRAMES
