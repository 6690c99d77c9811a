"""`trio-rpc methods`, and `trio-rpc call --arg`."""

from __future__ import annotations

import json
from collections.abc import Generator

import attrs
import pytest
from anyio.from_thread import start_blocking_portal

from trio_rpc import AccessToken, Room, RpcInvocationData, VideoGrants
from trio_rpc.cli.arguments import parse_arguments
from trio_rpc.cli.exits import ExitCode, UsageError
from trio_rpc.cli.options import DEV_API_KEY, DEV_API_SECRET

from .command import one_line, run
from .shells import room_server

pytestmark = pytest.mark.real_time

ROOM = ("--dev", "--room", "demo", "--wait", "10")


@attrs.frozen
class Order:
    vegetable: str


async def slice_vegetable(order: Order, times: int = 1, note: str = "") -> list[str]:
    """Slice a vegetable.

    At length.
    """
    return [f"{order.vegetable}{note}"] * times


async def rest() -> None:
    pass


async def greet(data: RpcInvocationData) -> str:
    return data.payload


@pytest.fixture(scope="module")
def url() -> Generator[str]:
    """The URL of a server with a participant "alice" that has methods, and a silent "bob"."""
    alice, bob = Room(), Room(discoverable=False)
    alice.method("slice")(slice_vegetable)
    alice.method(rest)
    for room in alice, bob:
        room.register_rpc_method("greet", greet)
    grants = VideoGrants(room_join=True, room="demo")
    token = AccessToken(DEV_API_KEY, DEV_API_SECRET).with_grants(grants)
    with room_server() as serving, start_blocking_portal() as portal:
        joining = alice.connect(serving.url, token.with_identity("alice").to_jwt())
        with portal.wrap_async_context_manager(joining):
            joining = bob.connect(serving.url, token.with_identity("bob").to_jwt())
            with portal.wrap_async_context_manager(joining):
                yield serving.url


@pytest.mark.rule("T10")
def test_the_methods_of_a_participant_are_printed(url: str) -> None:
    done = run("methods", "alice", *ROOM, LIVEKIT_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "greet",
        "rest()",
        "slice(order, times?, note?): Slice a vegetable.",
    ]


@pytest.mark.rule("T10")
def test_the_schemas_are_printed_as_json(url: str) -> None:
    done = run("methods", "alice", "--json", *ROOM, LIVEKIT_URL=url)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0] == {"name": "greet", "description": "", "streams": False}
    assert lines[2]["inputSchema"]["required"] == ["order"]
    assert lines[2]["outputSchema"] == {"type": "array", "items": {"type": "string"}}


def test_a_participant_that_does_not_tell_is_an_error(url: str) -> None:
    done = run("methods", "bob", *ROOM, LIVEKIT_URL=url)
    assert (done.returncode, done.stdout) == (ExitCode.RPC, "")
    assert "1400" in one_line(done.stderr)


def test_arguments_are_given_by_name(url: str) -> None:
    arguments = ("--arg", 'order={"vegetable": "leek"}', "--arg", "times=2", "--arg", "note=7")
    done = run("call", "alice", "slice", *arguments, *ROOM, LIVEKIT_URL=url)
    assert (done.returncode, done.stdout, done.stderr) == (0, '["leek7","leek7"]\n', "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["times=2"], "the method takes --arg order=VALUE as well"),
        (["order={}", "times=two"], "--arg times is of type integer, not 'two'"),
        (["order={}", "x=1"], "the method has no argument 'x'; it takes order, times, note"),
        (["order"], "--arg takes NAME=VALUE, not 'order'"),
    ],
)
def test_arguments_that_do_not_fit_are_found_before_the_call(
    url: str, arguments: list[str], message: str
) -> None:
    words = [word for each in arguments for word in ("--arg", each)]
    done = run("call", "alice", "slice", *words, *ROOM, LIVEKIT_URL=url)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert message in one_line(done.stderr)


def test_a_callee_that_does_not_tell_gets_them_unchecked(url: str) -> None:
    done = run("call", "bob", "greet", "--arg", "a=1", "--arg", "b=c", *ROOM, LIVEKIT_URL=url)
    assert (done.returncode, done.stdout) == (0, '{"a": 1, "b": "c"}\n')


def test_arguments_and_a_payload_exclude_each_other() -> None:
    done = run("call", "alice", "slice", "payload", "--arg", "a=1", *ROOM)
    assert done.returncode == ExitCode.USAGE
    assert "PAYLOAD and --arg" in one_line(done.stderr)


SCHEMA = {
    "properties": {
        "text": {"type": "string"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "colour": {"$ref": "#/$defs/Colour"},
        "loop": {"$ref": "#/$defs/Loop"},
        "unknown": {"$ref": "#/$defs/Nowhere"},
        "flag": {"type": "boolean"},
        "any": {},
        "lie": "no schema",
    },
    "$defs": {"Colour": {"enum": ["red"], "type": "string"}, "Loop": {"$ref": "#/$defs/Loop"}},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("text=3", "3"),
        ("text=a=b", "a=b"),
        ("maybe=3", 3),
        ("maybe=null", None),
        ("either=3", 3),
        ("either=three", "three"),
        ("colour=red", "red"),
        ("loop=1", 1),
        ("unknown=[1]", [1]),
        ("flag=true", True),
        ("any=x", "x"),
        ("lie=1", 1),
    ],
)
def test_a_value_is_what_its_schema_says(text: str, value: object) -> None:
    assert json.loads(parse_arguments([text], SCHEMA)) == {text.partition("=")[0]: value}


@pytest.mark.parametrize("text", ["maybe=true", "maybe=x", "flag=1", "colour=", "=1", "nothing=1"])
def test_a_value_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_arguments([text], {**SCHEMA, "required": ["text"]})
    with pytest.raises(UsageError, match="twice"):
        parse_arguments(["text=1", "text=2"], SCHEMA)
