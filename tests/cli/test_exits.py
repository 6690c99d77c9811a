"""Exit codes, and the one line that says why."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from trio_rpc import ConnectError, RpcError
from trio_rpc.cli.exits import (
    CommandError,
    ExitCode,
    InterruptedBySignalError,
    UsageError,
    end_with,
)

from .command import command_line, environment, one_line, run

FAILING_TOKENS = "import trio_rpc.cli.token as t\nt.AccessToken = lambda *args: 1 / 0"
CREATE = ("token", "create", "--dev", "--identity", "alice", "--room", "demo")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConnectError("refused with 401", status=401), 3, "refused with 401"),
        (RpcError(402, "Not enough money", "70"), 4, "402 Not enough money: 70"),
        (UsageError("no API key"), 2, "no API key"),
        (CommandError("the demo failed", ExitCode.RPC), 4, "the demo failed"),
        (CommandError("two\nlines", ExitCode.CONNECTION), 3, "two lines"),
        (RpcError(1, "\x1b[31mred"), 4, "1 \\x1b[31mred"),
        (ExceptionGroup("", [ConnectError("nobody there")]), 3, "nobody there"),
        (ExceptionGroup("", [ExceptionGroup("", [UsageError("deep")])]), 2, "deep"),
        (
            ValueError("what?"),
            1,
            "unexpected ValueError: what? (--verbose shows where it comes from)",
        ),
    ],
    ids=repr,
)
def test_an_error_is_an_exit_code_and_a_line(
    error: Exception, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_with(error, "trio-rpc serve") == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"trio-rpc serve: error: {text}\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (BaseExceptionGroup("", [ValueError("lost"), KeyboardInterrupt()]), 130),
        (InterruptedBySignalError(signal.SIGINT), 130),
        (InterruptedBySignalError(signal.SIGTERM), 143),
    ],
    ids=repr,
)
def test_an_interruption_says_nothing(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_with(error, "trio-rpc demo") == code
    assert capsys.readouterr() == ("", "")


def test_an_unexpected_error_is_one_line() -> None:
    completed = run(*CREATE, before=FAILING_TOKENS)
    assert completed.returncode == 1
    assert one_line(completed.stderr).startswith(
        "trio-rpc token create: error: unexpected ZeroDivisionError: "
    )


def test_verbose_shows_where_an_unexpected_error_comes_from() -> None:
    completed = subprocess.run(
        command_line(*CREATE, "--verbose", before=FAILING_TOKENS),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 1
    assert "Traceback (most recent call last):" in completed.stderr
    assert completed.stderr.splitlines()[-1].startswith("trio-rpc token create: error: ")


def test_a_reader_that_has_gone_is_no_reason_for_words() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        completed = subprocess.run(
            command_line(*CREATE),
            env=environment(),
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writer)
    assert (completed.returncode, completed.stderr) == (1, b"")


@pytest.mark.parametrize("command", [["demo"], ["serve", "--dev"]], ids=" ".join)
def test_a_missing_extra_is_named(command: list[str]) -> None:
    completed = run(*command, before="import sys\nsys.modules['starlette'] = None")
    assert completed.returncode == 1
    assert one_line(completed.stderr) == (
        f"trio-rpc {command[0]}: error: Starlette is missing, which the server needs: "
        "pip install 'trio-rpc[server]'"
    )


def test_another_missing_module_is_unexpected() -> None:
    completed = run("demo", before="import sys\nsys.modules['trio_rpc.server.app'] = None")
    assert completed.returncode == 1
    assert "unexpected ModuleNotFoundError" in one_line(completed.stderr)


def test_a_warning_is_one_line_without_a_traceback() -> None:
    warn = "logging.getLogger('trio_rpc').error('a handler failed', exc_info=ValueError('it'))"
    before = f"import logging, trio_rpc.cli.token as t\nt.hint_at_length = lambda *args: {warn}"
    completed = run(*CREATE, before=before)
    assert completed.returncode == 0
    assert one_line(completed.stderr) == "trio-rpc: a handler failed: ValueError('it')"
