"""Rule N2: a server whose version is too old for RPC."""

from __future__ import annotations

from typing import Final

import pytest
from livekit.protocol import models

from trio_rpc import RpcError

from ..support.callee import leave
from ..support.caller import built_in, caller
from ..support.scripted_server import ScriptedServer

pytestmark = pytest.mark.anyio

OLD: Final = ["1.7.2", "v1.7.0", "1.7.99", "1.7.0-rc1", "0.15.1", "0.0.0", "1.0.10"]
NEW: Final = [
    "1.8.0",
    "v1.8.0",
    "1.8.0-rc1",
    "1.8.1",
    "1.9.0-rc1",
    "1.10.0",
    "1.9.12+build.7",
    "2.0.0",
    "10.0.0",
]
UNPARSABLE: Final = ["", "dev", "v", "1", "latest-1.7.0", "main@1.7.0", "9" * 5_000 + ".0.0", "\0"]


@pytest.mark.rule("N2", "E2")
@pytest.mark.parametrize("version", OLD)
async def test_a_call_through_an_old_server_fails_before_anything_is_sent(version: str) -> None:
    async with caller(ScriptedServer(server_version=version)) as alice:
        call = alice.call()
        assert await call.failure() == built_in(
            RpcError.ErrorCode.UNSUPPORTED_SERVER,
            f"the server has version {version}, RPC needs 1.8.0",
        )
        assert call.seconds == 0
        assert alice.pending_calls == 0
        assert await leave(alice.room, alice.server) == []


@pytest.mark.rule("N2")
@pytest.mark.parametrize("version", [*NEW, *UNPARSABLE], ids=lambda version: repr(version[:20]))
async def test_a_call_goes_through_a_server_that_is_new_or_may_be(version: str) -> None:
    async with caller(ScriptedServer(server_version=version)) as alice:
        call, request_id = await alice.start_call()
        alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"


@pytest.mark.rule("N2")
@pytest.mark.parametrize(
    ("server_info", "server_version", "is_old"),
    [
        ("1.7.2", "", True),
        ("", "1.7.2", True),
        ("1.8.0", "1.7.2", False),
        ("1.7.2", "1.8.0", True),
        ("", "1.8.0", False),
    ],
)
async def test_the_version_in_server_info_comes_before_the_one_of_older_servers(
    server_info: str, server_version: str, is_old: bool
) -> None:
    server = ScriptedServer()
    server.join.server_info.CopyFrom(models.ServerInfo(version=server_info))
    server.join.server_version = server_version
    async with caller(server) as alice:
        call = alice.call()
        if is_old:
            assert (await call.failure())[0] == RpcError.ErrorCode.UNSUPPORTED_SERVER
        else:
            alice.respond((await alice.expect_request()).id, "hello")
            assert await call.outcome() == "hello"
