"""A proxy in front of a server: `proxy URL HOST`; commands on standard input."""

from __future__ import annotations

import json
import sys

import anyio

from ...support.proxy import open_proxy
from .participant import write


async def main(url: str, host: str) -> None:
    async with open_proxy(url, host) as proxy:
        write(participant="proxy", event="listens", url=proxy.url)
        async for line in anyio.wrap_file(sys.stdin):
            command = json.loads(line)
            proxy.refuse(command["do"] == "refuse")
            if command["do"] == "refuse":
                proxy.cut()
            write(id=command["id"], result=None)


anyio.run(main, sys.argv[1], sys.argv[2])
