"""The common part of commands that join a room: options, the session, and how they stop."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import trio
from attrs import frozen

from ..client.loss import OnDisconnect
from ..participant import DEFAULT_RESPONSE_TIMEOUT
from ..tokens import AccessToken, VideoGrants
from ..typed.room import Room
from .exits import CommandError, ExitCode, UsageError
from .options import add_api_key_options, api_key_of, hint_at_length
from .output import note
from .signals import wait_for_signal

_DEFAULT_URL: Final = "ws://127.0.0.1:7880"


@frozen
class Destination:
    """The URL and the token to join with."""

    url: str
    token: str


def add_room_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for `destination_of`."""
    group = parser.add_argument_group("the room, by a token or by an API key")
    group.add_argument(
        "--url",
        help="the server's, ws:// or wss://, or of its stream link, tcp://, tls:// or unix:// "
        f"(default: $LIVEKIT_URL, or {_DEFAULT_URL})",
    )
    group.add_argument("--token", help="an access token (default: $LIVEKIT_TOKEN)")
    group.add_argument("--room", help="with an API key: the room to join")
    group.add_argument(
        "--identity", help="with an API key: who we are (default: made up, like cli-1a2b)"
    )
    add_api_key_options(parser)


def add_timeout_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the seconds that a call may take."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=DEFAULT_RESPONSE_TIMEOUT,
        metavar="SECONDS",
        help="how long a call may take (default: %(default)g)",
    )


def add_wait_option(parser: argparse.ArgumentParser, whom: str = "the participant") -> None:
    """Add the option for the patience of `wait_for`.

    Args:
        whom: The participants that are waited for, in the help.
    """
    parser.add_argument(
        "--wait",
        type=seconds,
        metavar="SECONDS",
        help=f"how long to wait for {whom} to join (default: not at all)",
    )


def destination_of(arguments: argparse.Namespace) -> Destination:
    """Return the URL and the token from the options, or else the environment.

    Raises:
        UsageError: neither has them, or the options have a token and an API key.
    """
    url: str = arguments.url or os.environ.get("LIVEKIT_URL") or _DEFAULT_URL
    names = ("room", "identity", "api_key", "api_secret", "dev")
    options = [f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name)]
    if arguments.token:
        if options:
            raise UsageError(f"--token says it all: leave out {' and '.join(options)}")
        return Destination(url, arguments.token)
    if not options and (token := os.environ.get("LIVEKIT_TOKEN")):
        return Destination(url, token)
    return Destination(url, _make_token(arguments))


def _make_token(arguments: argparse.Namespace) -> str:
    api_key = api_key_of(arguments)
    if api_key is None:
        raise UsageError(
            "no token and no API key: give --token or set LIVEKIT_TOKEN, give --api-key and "
            "--api-secret or set LIVEKIT_API_KEY and LIVEKIT_API_SECRET, or take --dev"
        )
    if not arguments.room:
        raise UsageError("no room: an API key goes with --room")
    hint_at_length(*api_key)
    identity = arguments.identity or f"cli-{secrets.token_hex(2)}"
    grants = VideoGrants(room_join=True, room=arguments.room)
    try:
        return AccessToken(*api_key).with_identity(identity).with_grants(grants).to_jwt()
    except ValueError as error:
        raise UsageError(str(error)) from None


# In the room


async def wait_for(room: Room, identities: Iterable[str], patience: float | None) -> None:
    """Wait until participants are in the room.

    Args:
        patience: Seconds to wait; None for not at all.

    Raises:
        CommandError: one of them is not there.
    """
    for identity in identities:
        if patience is None:
            if identity not in room.remote_participants:
                raise CommandError(
                    f"no participant {identity!r} is in room {room.name!r} (--wait waits for it)",
                    ExitCode.RPC,
                )
            continue
        started = trio.current_time()
        with trio.move_on_after(patience) as scope:
            await room.wait_for_participant(identity)
        if scope.cancelled_caught:
            raise CommandError(
                f"{identity!r} did not join room {room.name!r} in time", ExitCode.RPC
            )
        patience = max(0.0, patience - (trio.current_time() - started))


def report_connection(room: Room) -> None:
    """Report on stderr when the connection is lost, and when it is restored."""
    room.on("reconnecting", lambda: note("the connection is lost: reconnecting"))
    room.on("reconnected", lambda: note("reconnected"))


@asynccontextmanager
async def joined_until_signal(
    room: Room, destination: Destination, purpose: str, *, on_disconnect: OnDisconnect = "raise"
) -> AsyncGenerator[None]:
    """Join the room for the block, which a signal ends properly too.

    Args:
        purpose: The activity in the room, for a line on stderr once it is joined.
    """

    async def stop_on_signal(*, task_status: trio.TaskStatus[None]) -> None:
        await wait_for_signal(task_status=task_status)
        nursery.cancel_scope.cancel()

    report_connection(room)
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signal)
        async with room.connect(destination.url, destination.token, on_disconnect=on_disconnect):
            note(f"{purpose} as {room.local_participant.identity!r} in room {room.name!r}")
            yield
        nursery.cancel_scope.cancel()


# Types of arguments


def seconds(text: str) -> float:
    """Parse a number of seconds above 0."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII) or float(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return float(text)


def text_in(argument: str, what: str) -> str:
    """Return the text of an argument; `-` stands for stdin, without the final newline.

    Raises:
        UsageError: the text is not UTF-8.
    """
    data = bytes_in(argument)
    if argument == "-":
        data = data.removesuffix(b"\n")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{what} is not UTF-8") from None


def bytes_in(argument: str) -> bytes:
    """Return the bytes of an argument; `-` stands for stdin, unchanged."""
    if argument == "-":
        return sys.stdin.buffer.read()
    return os.fsencode(argument)
