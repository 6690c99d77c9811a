"""`trio-rpc send` and `trio-rpc listen`, in shells of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from trio_rpc import Room
from trio_rpc.cli import main
from trio_rpc.cli.output import one_line as printable
from trio_rpc.cli.saving import safe_name

from .command import one_line, run
from .shells import Serving, Shell, pipe, room_server, shell
from .test_serve import token_of

pytestmark = pytest.mark.real_time

ROOM = ("--dev", "--room", "demo")
DEV_KEY = ("devkey", "trio-rpc-development-secret-not-for-production")


@pytest.fixture(scope="module")
def server() -> Generator[Serving]:
    with room_server() as serving:
        yield serving


@pytest.fixture
def url(server: Serving) -> str:
    return server.url


def listen(url: str, *arguments: str) -> Any:
    return shell(
        *("listen", *ROOM, "--identity", "ear", *arguments), ready="listens", LIVEKIT_URL=url
    )


def send(url: str, *arguments: str, stdin: bytes = b"") -> None:
    sent = pipe("send", *arguments, *ROOM, "--identity", "bob", stdin=stdin, LIVEKIT_URL=url)
    assert (sent.returncode, sent.stdout, sent.stderr) == (0, b"", b"")


def events_until(ear: Shell, name: str) -> list[dict[str, Any]]:
    """Return the events up to one of this name, without joining and leaving participants.

    Their number is announced some time later.
    """
    assert ear.process.stdout is not None
    events: list[dict[str, Any]] = []
    for line in ear.process.stdout:
        event = json.loads(line)
        if not event["event"].startswith(("participant_", "room_updated")):
            events.append(event)
        if event["event"] == name:
            return events
    raise AssertionError(f"no {name}: {events}")


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    ("data", "fields"),
    [(b"two\nlines\n", {"text": "two\nlines\n"}), (b"\xff\x00", {"base64": "/wA="})],
)
def test_data_comes_as_text_or_else_in_base64(
    url: str, data: bytes, fields: dict[str, str]
) -> None:
    with listen(url, "--json") as ear:
        send(url, "ear", "--data", "-", "--topic", "chat", stdin=data)
        (event,) = events_until(ear, "data_received")
        assert event["data_packet"] == {
            **fields,
            "kind": "KIND_RELIABLE",
            "participant": "bob",
            "topic": "chat",
        }
        assert ear.end()[0] == 0


def test_lines_for_people_can_not_control_their_terminal(url: str) -> None:
    with listen(url) as ear:
        send(url, "--data", "red: \x1b[31m")
        assert ear.process.stdout is not None
        line = next(line for line in ear.process.stdout if "data_received" in line)
        ear.end()
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d data_received text="red: \\u001b\[31m" kind=KIND_RELIABLE '
        r"participant=bob\n",
        line,
    ), line
    assert printable("\x9b31m\u202e") == "\\x9b31m\\u202e"


def test_texts_come_by_their_topic(url: str) -> None:
    with listen(url, "--json", "--topic", "log", "--topic", "chat") as ear:
        send(url, "--text", "not for us", "--topic", "other")
        send(url, "--text", "-", "--topic", "log", "--attribute", "k=v", stdin=b"long " * 50_000)
        (event,) = events_until(ear, "text_received")
    assert event == {
        "event": "text_received",
        "participant": "bob",
        "topic": "log",
        "attributes": {"k": "v"},
        "text": "long " * 50_000,
    }


def test_files_are_saved_and_overwrite_nothing(url: str, tmp_path: Path) -> None:
    source, received = tmp_path / "photo.jpg", tmp_path / "received"
    received.mkdir()
    (received / "photo-1.jpg").symlink_to(tmp_path / "elsewhere")
    contents = [bytes(3_000_000), b"another"]
    with listen(url, "--json", "--topic", "photos", "--save-to", str(received)) as ear:
        for content in contents:
            source.write_bytes(content)
            send(url, "ear", "--file", str(source), "--topic", "photos")
            (event,) = events_until(ear, "file_received")
            assert (event["name"], event["mime_type"]) == ("photo.jpg", "image/jpeg")
            assert event["size"] == len(content)
            assert Path(event["path"]).read_bytes() == content
    assert names_in(received) == ["photo-1.jpg", "photo-2.jpg", "photo.jpg"]
    assert not (tmp_path / "elsewhere").exists()


def test_without_a_directory_a_file_is_told_of(url: str, tmp_path: Path) -> None:
    (tmp_path / "empty.bin").touch()
    with listen(url, "--json", "--topic", "photos") as ear:
        send(url, "--file", str(tmp_path / "empty.bin"), "--topic", "photos")
        (event,) = events_until(ear, "file_received")
    assert event["size"] == 0
    assert "path" not in event


@pytest.mark.anyio
async def test_a_file_stays_in_the_directory_and_is_gone_when_it_breaks_off(
    url: str, tmp_path: Path
) -> None:
    received = tmp_path / "received"
    received.mkdir()
    with listen(url, "--json", "--topic", "photos", "--save-to", str(received)) as ear:
        async with Room().connect(url, token_of("mallory", *DEV_KEY)) as room:
            await room.wait_for_participant("ear")
            us = room.local_participant
            async with us.stream_bytes("../../evil", topic="photos") as writer:
                await writer.write(b"evil")
            await us.stream_bytes("partial", topic="photos")
            await anyio.to_thread.run_sync(events_until, ear, "file_received")
        (failed,) = await anyio.to_thread.run_sync(events_until, ear, "file_failed")
    assert (failed["name"], failed["participant"]) == ("partial", "mallory")
    assert failed["error"]
    assert names_in(received) == ["evil"]
    assert names_in(tmp_path) == ["received"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", "unnamed"),
        ("a/.", "unnamed"),
        ("", "unnamed"),
        ("dir/", "unnamed"),
        ("a\0b\n.txt", "ab.txt"),
        (".hidden", ".hidden"),
        ("ä" * 300 + ".txt", "ä" * 98 + ".txt"),
    ],
)
def test_the_name_of_a_file_is_one_in_the_directory(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_listen_ends_with_0_when_the_room_does() -> None:
    with room_server() as server, listen(server.url, "--json") as ear:
        server.delete_room()
        code, output, errors = ear.wait()
    assert (code, errors) == (0, "")
    assert json.loads(output.splitlines()[-1]) == {
        "event": "disconnected",
        "reason": "ROOM_DELETED",
    }


def test_listen_ends_with_3_when_another_takes_its_place(url: str) -> None:
    with listen(url) as first, listen(url):
        code, _output, errors = first.wait()
    assert code == 3
    assert one_line(errors) == "trio-rpc listen: error: the room was lost: DUPLICATE_IDENTITY"


def test_listen_ends_when_nobody_reads_it(url: str) -> None:
    with listen(url) as ear:
        assert ear.process.stdout is not None
        ear.process.stdout.close()
        send(url, "--data", "to nobody")
        assert ear.process.wait() == 1
        assert ear.process.stderr is not None
        assert ear.process.stderr.read() == ""


def test_data_to_an_absent_participant_is_not_sent(url: str) -> None:
    sent = run("send", "nobody", "--data", "x", *ROOM, LIVEKIT_URL=url)
    assert sent.returncode == 4
    assert one_line(sent.stderr) == (
        "trio-rpc send: error: no participant 'nobody' is in room 'demo' (--wait waits for it)"
    )


def test_data_that_no_packet_holds_is_not_sent(url: str) -> None:
    sent = pipe("send", "--data", "-", *ROOM, stdin=bytes(64_001), LIVEKIT_URL=url)
    assert sent.returncode == 4
    assert b"over the limit of 64,000" in sent.stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["send", "--data", "x", "--attribute", "k=v", *ROOM], "--attribute goes with --text"),
        (["send", "--file", "no-such-file", *ROOM], "cannot read --file no-such-file: No such"),
        (["send", "--file", "/", *ROOM], "--file / is not a regular file"),
        (["send", "--text", "\udcff", *ROOM], "--text is not UTF-8"),
        (["listen", "--save-to", "/", *ROOM], "--save-to goes with --topic"),
        (["listen", "--save-to", "none", "--topic", "t", *ROOM], "--save-to none is not a dir"),
    ],
)
def test_arguments_that_make_no_sense_end_with_2(
    arguments: Sequence[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    text = one_line(capsys.readouterr().err)
    assert text.startswith(f"trio-rpc {arguments[0]}: error: {error}")
