"""`trio-rpc send`: send data, a text or a file."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from ..typed.room import Room
from .exits import UsageError
from .joining import (
    Destination,
    add_room_options,
    add_wait_option,
    bytes_in,
    destination_of,
    text_in,
    wait_for,
)
from .options import add_command, key_value
from .output import ProgressBar
from .signals import run_until_signal

if TYPE_CHECKING:
    from .options import Commands

_DESCRIPTION = """\
Send data, a text or a file to participants of a room, or to everybody in it.
Nobody answers to that: it has been sent when the command ends with 0.
"""
_EXAMPLES = """\
  trio-rpc send alice --data hello --topic chat --dev --room demo
      a packet of data, with the server of 'trio-rpc serve --dev'
  git log | trio-rpc send --text - --topic log --dev --room demo
      a text of any size, to everybody
  trio-rpc send alice bob --file photo.jpg --topic photos --attribute album=2026
      a file of any size; the token is that of LIVEKIT_TOKEN
"""


def add_parser(commands: Commands) -> None:
    """Add the command to those of `trio-rpc`."""
    parser = add_command(
        commands,
        "send",
        summary="send data, a text or a file",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.set_defaults(run=_run)
    parser.add_argument(
        "identities", nargs="*", metavar="IDENTITY", help="to whom (default: to everybody)"
    )
    what = parser.add_argument_group("what").add_mutually_exclusive_group(required=True)
    what.add_argument("--data", help="bytes that fit into a packet of 64,000; - is stdin, as it is")
    what.add_argument(
        "--text", help="a text of any size; - is stdin, without the newline that ends it"
    )
    what.add_argument("--file", type=Path, metavar="PATH", help="a file of any size")
    add = parser.add_argument
    add("--topic", default="", help="what it is about, for the receivers to tell by")
    add(
        "--attribute",
        dest="attributes",
        action="append",
        default=[],
        type=key_value,
        metavar="KEY=VALUE",
        help="a named text that goes with a text or a file; may be repeated",
    )
    add_wait_option(parser, "the participants")
    add_room_options(parser)


def _run(arguments: argparse.Namespace) -> None:
    content: bytes | str | Path
    if arguments.data is not None:
        if arguments.attributes:
            raise UsageError("--attribute goes with --text and --file, not with --data")
        content = bytes_in(arguments.data)
    elif arguments.text is not None:
        content = text_in(arguments.text, "--text")
    else:
        _check_file(arguments.file)
        content = arguments.file
    destination = destination_of(arguments)
    trio.run(run_until_signal, partial(_join_and_send, destination, arguments, content))


def _check_file(path: Path) -> None:
    try:
        if not path.is_file() and path.exists():
            raise UsageError(f"--file {path} is not a regular file")
        path.open("rb").close()
    except OSError as error:
        raise UsageError(f"cannot read --file {path}: {error.strerror}") from None


async def _join_and_send(
    destination: Destination, arguments: argparse.Namespace, content: bytes | str | Path
) -> None:
    async with Room().connect(destination.url, destination.token) as room:
        await wait_for(room, arguments.identities, arguments.wait)
        await _send(room, arguments, content)


async def _send(room: Room, arguments: argparse.Namespace, content: bytes | str | Path) -> None:
    us = room.local_participant
    identities, topic = arguments.identities, arguments.topic
    if isinstance(content, bytes):
        await us.publish_data(content, destination_identities=identities, topic=topic)
        return
    attributes = dict(arguments.attributes)
    if isinstance(content, str):
        await us.send_text(
            content, destination_identities=identities, topic=topic, attributes=attributes
        )
        return
    with ProgressBar(os.fspath(content.name)) as progress:
        await us.send_file(
            content,
            destination_identities=identities,
            topic=topic,
            attributes=attributes,
            on_progress=progress.update,
        )
