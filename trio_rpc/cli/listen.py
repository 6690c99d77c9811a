"""`trio-rpc listen`: show the events of a room, and receive texts and files."""

from __future__ import annotations

import argparse
import base64
import json
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import trio

from ..errors import DisconnectReason, StreamError
from ..events import TokenRefreshed
from ..participant import Participant
from ..streams import ByteStreamReader, TextStreamReader
from ..typed.room import Room
from .exits import CommandError, ExitCode, UsageError
from .joining import Destination, add_room_options, destination_of, joined_until_signal
from .options import add_command
from .output import one_line, write_line
from .saving import save

if TYPE_CHECKING:
    from .options import Commands

#: The reasons that end a room for everybody in it, so that there is nothing more to listen to.
_ENDS_OF_ROOM: Final = (
    DisconnectReason.SERVER_SHUTDOWN,
    DisconnectReason.ROOM_DELETED,
    DisconnectReason.ROOM_CLOSED,
)

_DESCRIPTION = """\
Print what happens in a room, as lines on stdout: who comes and goes, data, and
the texts and files of the topics that are asked for. Ctrl-C ends it, and so does
the end of the room, with 0.
"""
_EXAMPLES = """\
  trio-rpc listen --dev --room demo
      with the server of 'trio-rpc serve --dev'
  trio-rpc listen --json | jq -r 'select(.event == "data_received").data_packet.text'
      the data alone; the token is that of LIVEKIT_TOKEN
  trio-rpc listen --topic photos --save-to received --dev --room demo
      the files of a topic, saved in the directory 'received'
"""


def add_parser(commands: Commands) -> None:
    """Add the command to those of `trio-rpc`."""
    parser = add_command(
        commands,
        "listen",
        summary="show what happens in a room",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.set_defaults(run=_run)
    add = parser.add_argument
    add("--json", action="store_true", help="print each event as an object of JSON, in one line")
    add(
        "--topic",
        dest="topics",
        action="append",
        default=[],
        help="take the texts and files of this topic; may be repeated",
    )
    add(
        "--save-to",
        type=Path,
        metavar="DIR",
        help="save files in this directory, under new names where theirs are taken",
    )
    add_room_options(parser)


def _run(arguments: argparse.Namespace) -> None:
    directory: Path | None = arguments.save_to
    if directory is not None:
        if not arguments.topics:
            raise UsageError("--save-to goes with --topic, which says which files to take")
        if not directory.is_dir():
            raise UsageError(f"--save-to {directory} is not a directory")
    trio.run(_listen, destination_of(arguments), arguments)


async def _listen(destination: Destination, arguments: argparse.Namespace) -> None:
    room = Room()
    # One loop writes all lines, and fails when nobody reads them. They end with the last of their
    # senders: the events, or a stream that ends with them.
    send_lines, lines = trio.open_memory_channel[dict[str, Any]](0)
    for topic in dict.fromkeys(arguments.topics):
        room.register_text_stream_handler(topic, partial(_take_text, send_lines))
        room.register_byte_stream_handler(topic, partial(_take_file, send_lines, arguments.save_to))
    # Should the room be lost, what has come of it is still written.
    async with (
        joined_until_signal(room, destination, "listens", on_disconnect="continue"),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_read_events, room, send_lines)
        async for line in lines:
            write_line(json.dumps(line, ensure_ascii=False) if arguments.json else _readable(line))
    reason = await room.wait_disconnected()
    if reason not in (*_ENDS_OF_ROOM, DisconnectReason.CLIENT_INITIATED):
        raise CommandError(f"the room was lost: {reason.name}", ExitCode.CONNECTION)


async def _read_events(room: Room, send_lines: trio.MemorySendChannel[dict[str, Any]]) -> None:
    async with send_lines, room.events() as events:
        async for event in events:
            if isinstance(event, TokenRefreshed):
                continue  # a secret of ours, and nothing that happens in the room
            await send_lines.send({"event": event.name, **_fields(event)})


# Texts and files


async def _take_text(
    send_lines: trio.MemorySendChannel[dict[str, Any]], reader: TextStreamReader, sender: str
) -> None:
    line = {"event": "text_received", **_about(reader, sender)}
    async with send_lines.clone() as ours:
        try:
            line["text"] = await reader.read_all()
        except StreamError as error:
            line |= {"event": "text_failed", "error": str(error)}
        await ours.send(line)


async def _take_file(
    send_lines: trio.MemorySendChannel[dict[str, Any]],
    directory: Path | None,
    reader: ByteStreamReader,
    sender: str,
) -> None:
    line = {"event": "file_received", **_about(reader, sender)}
    line |= {"name": reader.info.name, "mime_type": reader.info.mime_type}
    async with send_lines.clone() as ours:
        try:
            if directory is None:
                async for _piece in reader:
                    pass
            else:
                line["path"] = str(await save(reader, directory))
            line["size"] = reader.bytes_received
        except (StreamError, OSError) as error:
            line |= {"event": "file_failed", "error": str(error)}
        await ours.send(line)


def _about(reader: TextStreamReader | ByteStreamReader, sender: str) -> dict[str, Any]:
    info = reader.info
    return {"participant": sender, "topic": info.topic, "attributes": info.attributes}


# Formatting


def _fields(instance: object) -> dict[str, Any]:
    """Return the fields of an event, or of a value in one, for JSON."""
    fields: dict[str, Any] = {}
    for attribute in attrs.fields(type(instance)):  # type: ignore[arg-type]
        value = getattr(instance, attribute.name)
        if isinstance(value, bytes):
            fields.update(_data(value))
        elif attribute.name != "publication":
            fields[attribute.name] = _value(value)
    return fields


def _data(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def _value(value: object) -> Any:
    if isinstance(value, Participant):
        return value.identity
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list):
        return [_value(each) for each in cast("list[object]", value)]
    if attrs.has(type(value)):
        return _fields(value)
    return value


def _readable(line: Mapping[str, Any]) -> str:
    words = [time.strftime("%H:%M:%S"), line["event"]]
    words += [_word(name, value) for name, value in _flat(line) if value not in (None, "")]
    return one_line(" ".join(words))


def _flat(line: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    """Flatten nested fields."""
    pairs: list[tuple[str, Any]] = []
    for name, value in line.items():
        if isinstance(value, dict) and "attributes" not in name:
            pairs += _flat(cast("dict[str, Any]", value))
        elif name != "event" and value != {}:
            pairs.append((name, cast("Any", value)))
    return pairs


def _word(name: str, value: object) -> str:
    if isinstance(value, str) and value.isprintable() and not set(value) & set(" \"'\\="):
        return f"{name}={value}"
    return f"{name}={json.dumps(value, ensure_ascii=False)}"
