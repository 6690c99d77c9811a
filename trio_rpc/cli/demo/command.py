"""`trio-rpc demo`: a play of two participants, to see calls happen.

The room server runs in this process, each participant in one of its own. The room's metadata is the
number of the scene. A scene is over when the participants have sent as many reports as are
expected, and the next one begins.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, field, frozen

from ...server import RoomServer
from ...tokens import AccessToken, VideoGrants
from ..exits import CommandError, ExitCode
from ..options import add_command
from ..server_extra import load_serve
from ..signals import run_until_signal
from .output import Output
from .scenes import CAST, ROOM, SCENES, Scene

if TYPE_CHECKING:
    from ..options import Commands

_API_KEY: Final = "demo"
#: Seconds for the participants to start and join, which a busy machine may need.
_JOIN_TIMEOUT: Final = 30.0
#: Seconds for a scene, and for the participants to end after the last one.
_SCENE_TIMEOUT: Final = 10.0

_DESCRIPTION = """\
See calls happen: start a room server on a free port of this machine, and two
participants in processes of their own, alice on trio and bob on asyncio, who
join over WebSockets with access tokens and call each other. What each of them
sees is shown, with the milliseconds that every call took, and checked. It takes
a few seconds, and needs neither a server nor a key of yours.
"""
_EXAMPLES = """\
  trio-rpc demo
  NO_COLOR=1 trio-rpc demo
"""


def add_parser(commands: Commands) -> None:
    """Add the command to those of `trio-rpc`."""
    parser = add_command(
        commands,
        "demo",
        summary="see two participants call each other",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    play = _Play(Output(), verbose=arguments.verbose)
    trio.run(run_until_signal, play.run)


@frozen
class _Report:
    """A line of a participant, and the milliseconds of a call that has ended."""

    identity: str
    text: str
    milliseconds: float | None


@define(eq=False)
class _Play:
    output: Output
    verbose: bool
    server: RoomServer = field(init=False)
    api_secret: str = field(factory=partial(secrets.token_urlsafe, 32))
    reports: trio.MemoryReceiveChannel[_Report] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.server = RoomServer({_API_KEY: self.api_secret})

    async def run(self) -> None:
        """Play all scenes.

        Raises:
            CommandError: a scene was not as expected.
        """
        started = trio.current_time()
        serve = load_serve()
        self.output.title("Two participants in two processes, and a room server between them\n")
        async with trio.open_nursery() as nursery:
            url: str = await nursery.start(serve, self.server, "127.0.0.1", 0)
            self.output.line("server", f"listens on {url}")
            good_scenes = await self._play_all(url)
            nursery.cancel_scope.cancel()
        self._conclude(good_scenes, trio.current_time() - started)

    async def _play_all(self, url: str) -> int:
        send_channel, self.reports = trio.open_memory_channel[_Report](0)
        async with trio.open_nursery() as nursery:
            for identity in CAST:
                nursery.start_soon(self._run_participant, identity, url, send_channel)
            await self._wait_for_cast()
            good_scenes = 0
            for number, scene in enumerate(SCENES, 1):
                self.output.scene(number, scene.title)
                self.server.update_room_metadata(ROOM, str(number))
                good_scenes += await self._watch(scene)
            # The participants end by themselves after the last scene.
            nursery.cancel_scope.deadline = trio.current_time() + _SCENE_TIMEOUT
        if nursery.cancel_scope.cancelled_caught:
            raise CommandError("the participants did not end with the play", ExitCode.RPC)
        return good_scenes

    async def _wait_for_cast(self) -> None:
        missing = set(CAST)
        with trio.move_on_after(_JOIN_TIMEOUT):
            while missing:
                # The first report of each participant is that it has joined.
                missing.discard((await self._next_report()).identity)
            return
        raise CommandError(f"{' and '.join(sorted(missing))} did not join the room", ExitCode.RPC)

    async def _watch(self, scene: Scene) -> bool:
        """Show a scene, and return whether it was as expected."""
        expected = {identity: _lines_of(identity, scene) for identity in CAST}
        seen: dict[str, list[str]] = {identity: [] for identity in CAST}
        with trio.move_on_after(_SCENE_TIMEOUT) as scope:
            while any(len(seen[identity]) < len(expected[identity]) for identity in CAST):
                report = await self._next_report()
                seen[report.identity].append(report.text)
        for identity in CAST:
            if seen[identity] != expected[identity]:
                self.output.failure(f"NOT AS EXPECTED of {identity}: {expected[identity]}")
        if scope.cancelled_caught:
            raise CommandError("a scene did not come to its end", ExitCode.RPC)
        return seen == expected

    async def _next_report(self) -> _Report:
        report = await self.reports.receive()
        self.output.line(report.identity, report.text, report.milliseconds)
        return report

    def _conclude(self, good_scenes: int, seconds: float) -> None:
        if good_scenes < len(SCENES):
            raise CommandError(
                f"{good_scenes} of {len(SCENES)} scenes were as expected", ExitCode.RPC
            )
        self.output.closing(f"{good_scenes} scenes, all as expected, in {seconds:.1f} s.")
        self.output.text("Next: docs/tutorial.md builds this step by step, and")
        self.output.text("'trio-rpc serve --dev' runs a room server for programs of your own.")

    # The participants

    async def _run_participant(
        self, identity: str, url: str, send_channel: trio.MemorySendChannel[_Report]
    ) -> None:
        # -P: the working directory must not provide modules.
        command = [sys.executable, "-P", "-m", f"{__package__}.participant", identity]
        if self.verbose:
            command.append("--verbose")
        environment = {**os.environ, "LIVEKIT_URL": url, "LIVEKIT_TOKEN": self._token(identity)}
        run_process = partial(
            trio.run_process,
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # Ctrl-C reaches this process alone, which then ends the participants.
            start_new_session=True,
        )
        try:
            async with trio.open_nursery() as nursery:
                process: trio.Process = await nursery.start(run_process)
                assert process.stdout is not None
                async with aclosing(_lines_in(process.stdout)) as lines:
                    async for line in lines:
                        await send_channel.send(_Report(identity, **json.loads(line)))
        except* subprocess.CalledProcessError as group:
            raise CommandError(f"{identity} failed: {group.exceptions[0]}", ExitCode.RPC) from None

    def _token(self, identity: str) -> str:
        return (
            AccessToken(_API_KEY, self.api_secret)
            .with_identity(identity)
            .with_grants(VideoGrants(room_join=True, room=ROOM))
            .to_jwt()
        )


def _lines_of(identity: str, scene: Scene) -> list[str]:
    return [text for who, text in scene.expected if who == identity]


async def _lines_in(stream: trio.abc.ReceiveStream) -> AsyncGenerator[bytes]:
    rest = b""
    async for data in stream:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line
