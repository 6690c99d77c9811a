"""A participant in a process of its own, to be killed: `callee.py URL TOKEN`.

It says `called` on its standard output when its method is called, which never answers.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import anyio

from trio_rpc import DisconnectedError, Room, RpcInvocationData

room = Room()


@room.register_rpc_method("hang")
async def hang(_data: RpcInvocationData) -> str:
    sys.stdout.write("called\n")
    sys.stdout.flush()
    await anyio.sleep_forever()
    raise AssertionError


async def main(url: str, token: str) -> None:
    with suppress(DisconnectedError):
        async with room.connect(url, token, reconnect=None):
            await anyio.sleep_forever()


anyio.run(main, sys.argv[1], sys.argv[2], backend="trio")
