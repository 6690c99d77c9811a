"""`trio-rpc call` and `trio-rpc answer`, in shells of their own."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from trio_rpc.cli import main

from ..support.proxy import open_proxy
from ..support.waiting import wait_until
from .command import command_line, environment, one_line, run
from .shells import Serving, is_running, pipe, room_server, shell

pytestmark = pytest.mark.real_time

ROOM = ("--dev", "--room", "demo")
UPPER = ("upper", *ROOM, "--identity", "alice", "--", "tr", "a-z", "A-Z")


@pytest.fixture(scope="module")
def server() -> Generator[Serving]:
    with room_server() as serving:
        yield serving


@pytest.fixture
def url(server: Serving) -> str:
    return server.url


def python(code: str) -> tuple[str, ...]:
    return "run", *ROOM, "--identity", "alice", "--", sys.executable, "-c", code


def test_a_command_answers_a_call(url: str) -> None:
    with shell("answer", *UPPER, ready="answers to 'upper' as 'alice'", LIVEKIT_URL=url) as alice:
        called = run("call", "alice", "upper", "hello", *ROOM, "--identity", "bob", LIVEKIT_URL=url)
        assert (called.returncode, called.stdout, called.stderr) == (0, "HELLO\n", "")
        code, output, errors = alice.end()
    assert (code, output) == (0, "")
    assert re.fullmatch(r"bob: upper, 5 bytes: answered 5 bytes, \d+ ms", one_line(errors))


def test_a_lost_connection_is_reported_and_the_command_answers_on(url: str) -> None:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(open_proxy(url)) as proxy,
        shell("answer", *UPPER, ready="answers", LIVEKIT_URL=proxy.url) as alice,
    ):
        portal.call(proxy.cut)
        called = run("call", "alice", "upper", "hello", *ROOM, LIVEKIT_URL=url)
        assert called.stdout == "HELLO\n"
        _, _, errors = alice.end()
    assert "the connection is lost: reconnecting\nreconnected\n" in errors


def test_the_payload_may_come_from_a_pipe(url: str) -> None:
    with shell("answer", *UPPER, ready="answers", LIVEKIT_URL=url):
        called = pipe("call", "alice", "upper", "-", *ROOM, stdin=b"a\nb\n\n", LIVEKIT_URL=url)
    assert called.stdout == b"A\nB\n"


def test_repeated_calls_give_a_line_each_and_figures(url: str) -> None:
    with shell("answer", *UPPER, ready="answers", LIVEKIT_URL=url):
        called = pipe(
            *("call", "alice", "upper", "-", *ROOM, "--repeat", "3"), stdin=b"a\nb", LIVEKIT_URL=url
        )
    assert (called.returncode, called.stdout) == (0, b"A\\nB\n" * 3)
    assert re.fullmatch(rb"3 calls, 0 failures, p50 \d+\.\d ms, p99 \d+\.\d ms\n", called.stderr), (
        called.stderr
    )


def test_a_terminal_gets_a_progress_bar(url: str) -> None:
    ours, theirs = pty.openpty()
    with shell("answer", *UPPER, ready="answers", LIVEKIT_URL=url):
        called = subprocess.run(
            command_line("call", "alice", "upper", "x", *ROOM, "--repeat", "2"),
            env=environment(LIVEKIT_URL=url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=False,
        )
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        seen = terminal.read(10_000).decode()
    assert called.stdout == b"X\nX\n"
    assert f"calls [{'#' * 30}] 2 of 2\r\x1b[K" in seen
    assert "2 calls, 0 failures, p50 " in seen


def test_repeated_calls_that_fail_are_counted(url: str) -> None:
    with shell("answer", *python("exit(3)"), ready="answers", LIVEKIT_URL=url):
        called = run("call", "alice", "run", *ROOM, "--repeat", "2", LIVEKIT_URL=url)
    assert (called.returncode, called.stdout) == (4, "")
    assert called.stderr.splitlines() == [
        "call 1: 3003 Exit status 3: 3",
        "call 2: 3003 Exit status 3: 3",
        "2 calls, 2 failures",
        "trio-rpc call: error: 2 of 2 calls failed",
    ]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import sys; sys.exit('first\\nlast')", "3001 last: 1"),
        ("import os; os.kill(os.getpid(), 9)", "3137 Exit status 137: 137"),
        (
            "import sys; sys.stdout.buffer.write(b'\\xff')",
            "3000 The output of the command is not UTF-8: 0",
        ),
    ],
)
def test_a_command_that_fails_is_an_error(url: str, code: str, error: str) -> None:
    with shell("answer", *python(code), ready="answers", LIVEKIT_URL=url):
        called = run("call", "alice", "run", "payload", *ROOM, LIVEKIT_URL=url)
    assert (called.returncode, called.stdout) == (4, "")
    assert one_line(called.stderr) == f"trio-rpc call: error: {error}"


def test_the_environment_tells_the_command_of_the_call(url: str) -> None:
    names = "('CALLER', 'METHOD', 'REQUEST_ID', 'TIMEOUT')"
    code = f"import os; print(*(os.environ['LIVEKIT_RPC_' + name] for name in {names}))"
    with shell("answer", *python(code), ready="answers", LIVEKIT_URL=url):
        options = ("--identity", "bob", "--timeout", "60")
        called = run("call", "alice", "run", *ROOM, *options, LIVEKIT_URL=url)
    caller, method, request_id, timeout = called.stdout.split()
    assert (caller, method) == ("bob", "run")
    assert len(request_id) == 36
    assert 0 < float(timeout) < 60


def test_a_command_is_ended_with_its_children_when_the_time_is_over(
    url: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        "child.wait()"
    )
    with shell("answer", *python(code), ready="answers", LIVEKIT_URL=url) as alice:
        called = run("call", "alice", "run", *ROOM, "--timeout", "2", LIVEKIT_URL=url)
        assert called.returncode == 4
        assert called.stderr.startswith("trio-rpc call: error: 1502 Response timeout")
        process_ids = [int(process_id) for process_id in pids.read_text().split()]
        anyio.run(wait_until, lambda: not any(map(is_running, process_ids)))
        _code, _output, errors = alice.end()
    assert "ended: the call's time is over" in errors


def test_a_separator_of_the_command_stays(url: str) -> None:
    command = (*python("import sys; print(sys.argv[1:])"), "a", "--", "b")
    with shell("answer", *command, ready="answers", LIVEKIT_URL=url):
        assert run("call", "alice", "run", *ROOM, LIVEKIT_URL=url).stdout == "['a', '--', 'b']\n"


def test_call_waits_for_a_participant_when_it_is_told_to(url: str) -> None:
    called = run("call", "nobody", "upper", *ROOM, LIVEKIT_URL=url)
    assert called.returncode == 4
    assert "1401 Recipient not found" in one_line(called.stderr)
    called = run("call", "nobody", "upper", *ROOM, "--wait", "0.1", LIVEKIT_URL=url)
    assert called.returncode == 4
    assert one_line(called.stderr) == (
        "trio-rpc call: error: 'nobody' did not join room 'demo' in time"
    )


def test_a_token_says_where_to_go(url: str) -> None:
    token = run("token", "create", "--dev", "--room", "other", "--identity", "bob").stdout.strip()
    called = run("call", "nobody", "upper", LIVEKIT_URL=url, LIVEKIT_TOKEN=token)
    assert "no participant 'nobody' is in room 'other'" in called.stderr
    called = run("call", "nobody", "upper", "--url", url, "--token", token)
    assert "no participant 'nobody' is in room 'other'" in called.stderr
    # Options win over the environment.
    called = run("call", "nobody", "upper", *ROOM, LIVEKIT_URL=url, LIVEKIT_TOKEN=token)
    assert "no participant 'nobody' is in room 'demo'" in called.stderr


def test_nobody_at_the_url_ends_with_3() -> None:
    for command in (("call", "alice", "upper"), ("answer", "upper", "cat"), ("listen",)):
        completed = run(*command, *ROOM, "--url", "ws://127.0.0.1:1")
        assert (completed.returncode, completed.stdout) == (3, "")
        assert "ws://127.0.0.1:1" in one_line(completed.stderr)


@pytest.mark.parametrize("options", [(), ("--repeat", "2")], ids=["once", "repeated"])
def test_call_ends_with_3_when_the_room_is_lost_in_the_middle(options: tuple[str, ...]) -> None:
    with room_server() as server:
        code = f"{server.deletion}; import time; time.sleep(600)"
        with shell("answer", *python(code), ready="answers", LIVEKIT_URL=server.url):
            called = run("call", "alice", "run", *ROOM, *options, LIVEKIT_URL=server.url)
    assert (called.returncode, called.stdout) == (3, "")
    assert (
        one_line(called.stderr)
        == "trio-rpc call: error: the room was lost: the server ended our session: ROOM_DELETED"
    )


def test_answer_ends_with_3_when_the_room_is_lost() -> None:
    with (
        room_server() as server,
        shell("answer", *UPPER, ready="answers", LIVEKIT_URL=server.url) as alice,
    ):
        server.delete_room()
        code, _output, errors = alice.wait()
    assert code == 3
    assert one_line(errors) == (
        "trio-rpc answer: error: the room was lost: the server ended our session: ROOM_DELETED"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["call", "alice", "upper"], "no token and no API key"),
        (["call", "alice", "upper", "--dev"], "no room: an API key goes with --room"),
        (
            ["call", "alice", "upper", "--token", "x", *ROOM],
            "--token says it all: leave out --room and --dev",
        ),
        (["call", "alice", "", *ROOM], "the name of a method has 1 to 64 UTF-8 bytes, not 0"),
        (["answer", "upper", *ROOM], "no command: give it at the end, after --"),
        (["answer", "upper", *ROOM, "--", "no-such-command"], "there is no command"),
        (["answer", "", *ROOM, "--", "cat"], "the name of a method has 1 to 64 UTF-8 bytes, not 0"),
    ],
)
def test_arguments_that_make_no_sense_end_with_2(
    arguments: list[str],
    error: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TOKEN", "API_KEY", "API_SECRET"):
        monkeypatch.delenv(f"LIVEKIT_{name}", raising=False)
    assert main(arguments) == 2
    assert one_line(capsys.readouterr().err).startswith(f"trio-rpc {arguments[0]}: error: {error}")
