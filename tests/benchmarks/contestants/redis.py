"""Requests and responses over two channels of Redis pub/sub: redis-py with hiredis."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import hiredis  # noqa: F401 - redis-py takes it where it is, and is another client without it
import redis.exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub

from .base import Control, free_port, keep_trying, run_rounds


def server(control: Control) -> None:
    port = free_port()
    in_memory = ("--save", "", "--appendonly", "no")
    control.become(
        f"redis://127.0.0.1:{port}",
        *("redis-server", "--bind", "127.0.0.1", "--port", str(port), *in_memory),
    )


def callee(control: Control) -> None:
    async def main() -> None:
        client = connect(control.address)
        await keep_trying(client.ping, redis.exceptions.ConnectionError)

        async def echo(message: bytes) -> None:
            request_id, _, payload = message.partition(b" ")
            answer = payload.decode().encode()
            await client.publish("responses", request_id + b" " + answer)

        async with asyncio.TaskGroup() as task_group, client.pubsub() as requests:
            await requests.subscribe("requests")
            control.ready()
            await receive(requests, lambda message: task_group.create_task(echo(message)))

    asyncio.run(main())


def caller(control: Control) -> None:
    async def main() -> None:
        client = connect(control.address)
        numbers = itertools.count()
        pending: dict[bytes, asyncio.Future[bytes]] = {}

        async def call(payload: str) -> str:
            request_id = b"%d" % next(numbers)
            future = pending[request_id] = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(60):
                    await client.publish("requests", request_id + b" " + payload.encode())
                    answer: str = (await future).decode()
                    return answer
            finally:
                del pending[request_id]

        def answer(message: bytes) -> None:
            request_id, _, payload = message.partition(b" ")
            pending[request_id].set_result(payload)

        async with asyncio.TaskGroup() as task_group, client.pubsub() as responses:
            await responses.subscribe("responses")
            receiver = task_group.create_task(receive(responses, answer))
            await run_rounds(control, call)
            receiver.cancel()

    asyncio.run(main())


def connect(address: str) -> Redis:
    # The default pool raises where this one waits for a connection to be free.
    return Redis.from_pool(BlockingConnectionPool.from_url(address))


async def receive(channel: PubSub, handle: Callable[[bytes], object]) -> None:
    async for message in channel.listen():
        if message["type"] == "message":
            handle(message["data"])
