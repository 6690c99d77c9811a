"""The 23 cases of LiveKit's specification of RPC v2, in memory and over WebSockets.

What happens in each is in `rpc_v2_cases.py` or `rpc_v1_cases.py`, under the same name.

|    | both sides speak v2                     |    | one side speaks v1 alone           |
|----|-----------------------------------------|----|------------------------------------|
|  1 | a short payload, as caller              | 16 | the caller's happy path            |
|  2 | a long payload, as caller               | 17 | the handler's happy path           |
|  3 | a short payload, as handler             | 18 | an unhandled error                 |
|  4 | a long payload, as handler              | 19 | an error that is passed through    |
|  5 | an unregistered method                  | 20 | a payload that is too large        |
|  6 | an unhandled error                      | 21 | a response timeout                 |
|  7 | an error that is passed through         | 22 | an error response                  |
|  8 | a response timeout                      | 23 | a disconnection                    |
|  9 | an error response                       |    |                                    |
| 10 | a disconnection                         |    |                                    |
| 11 | an answer right after publishing        |    |                                    |
| 12 | an answer before publishing has settled |    |                                    |
| 13 | an answer after the ack timeout         |    |                                    |
| 14 | an answer from the wrong sender         |    |                                    |
| 15 | five calls at once                      |    |                                    |
"""

from __future__ import annotations

import re
from typing import Final

import pytest

from trio_rpc.links.server_connector import ServerConnector
from trio_rpc.links.stream import StreamConnector
from trio_rpc.server import RoomServer

from ..support.serving import serving_stream
from . import rpc_v1_cases, rpc_v2_cases
from .rpc_v2_scene import Scene

pytestmark = pytest.mark.anyio

CASES = rpc_v2_cases.CASES | rpc_v1_cases.CASES

#: Large enough to be compressed in a thread, for which virtual time does not wait.
LONG: Final = ["v2: a long payload, as caller", "v2: a long payload, as handler"]
_CELL: Final = re.compile(r"\| +(\d+) \| ([^|]*?) +(?=\|)")


def test_there_are_the_23_cases_of_the_table() -> None:
    listed = {int(number): name for number, name in _CELL.findall(__doc__ or "")}
    assert list(CASES) == [
        f"{'v2' if number <= 15 else 'v1'}: {listed[number]}" for number in range(1, 24)
    ]


@pytest.mark.rule("A1", "A6", "C4", "C5", "C6", "C8", "C10", "N3", "S2", "S3", "S5")
@pytest.mark.parametrize("name", [name for name in CASES if name not in LONG])
async def test_in_memory(name: str, server: RoomServer) -> None:
    await CASES[name](Scene(server))


@pytest.mark.real_time
@pytest.mark.rule("C10", "S4", "S5")
@pytest.mark.parametrize("name", LONG)
async def test_in_memory_with_threads(name: str, server: RoomServer) -> None:
    await CASES[name](Scene(server))


@pytest.mark.real_time
@pytest.mark.rule("C4", "C5", "C6", "C8", "N3", "S3")
@pytest.mark.parametrize("name", CASES)
async def test_over_websockets(name: str, url: str) -> None:
    await CASES[name](Scene(ServerConnector(url)))


@pytest.mark.real_time
@pytest.mark.rule("C4", "C5", "C6", "C8", "N3", "S3")
@pytest.mark.parametrize("name", CASES)
async def test_over_stream_links(name: str, server: RoomServer) -> None:
    async with serving_stream(server) as url:
        await CASES[name](Scene(StreamConnector(url)))
