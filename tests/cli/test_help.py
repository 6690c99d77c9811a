"""The help of every command, and how the command line is called."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

from trio_rpc.cli import main

from .command import run

COMMANDS = (
    *("", "demo", "serve", "token", "token create", "token inspect"),
    *("call", "answer", "send", "listen"),
)


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_environment(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(command, capsys)
    for name in ("LIVEKIT_URL", "LIVEKIT_TOKEN", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        assert f"  {name} " in text


@pytest.mark.parametrize("command", COMMANDS[1:])
def test_help_describes_the_command_and_shows_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    usage, description, *_ = help_of(command, capsys).split("\n\n")
    assert usage.startswith(f"usage: trio-rpc {command} ")
    assert description.strip().endswith(".")
    text = help_of(command, capsys)
    assert f"  trio-rpc {command} " in text.partition("examples:\n")[2].replace("\n", " ")


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    codes = help_of("", capsys).partition("exit codes:\n")[2].splitlines()
    assert [line.split()[0] for line in codes if line.startswith("  ")] == [
        *("0", "1", "2", "3", "4", "130")
    ]


def test_help_names_units_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    serve = help_of("serve", capsys)
    assert "(default: 7880)" in serve
    assert "(default: 127.0.0.1)" in serve
    assert "(default: 6h)" in help_of("token create", capsys)


@pytest.mark.parametrize("command", ["", "token"])
def test_without_a_command_the_help_is_printed(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 0
    assert capsys.readouterr().out == help_of(command, capsys)


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"trio-rpc {version('trio-rpc')}\n"


def test_the_entry_point_is_the_same_main() -> None:
    (entry_point,) = entry_points(group="console_scripts", name="trio-rpc")
    assert entry_point.load() is main


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["serve", "--dev", "--port", "65536"],
        ["serve", "--dev", "--port", "http"],
        ["serve", "--dev", "--max-participants", "0"],
        ["serve", "--dev", "--backend", "curio"],
        ["serve", "--dev", "--listen", "ws://127.0.0.1:0"],
        ["serve", "--dev", "--node-ip", "192.0.2.1"],
        ["serve", "--dev", "--node-ip", "a name"],
        ["serve", "--dev", "--listen", "tcp://127.0.0.1"],
        ["serve", "--de"],
        ["call", "alice"],
        ["call", "alice", "greet", "--timeout", "0"],
        ["call", "alice", "greet", "--timeout", "nan"],
        ["call", "alice", "greet", "--repeat", "0"],
        ["answer"],
        ["send", "alice"],
        ["send", "--data", "x", "--text", "y"],
        ["listen", "alice"],
        ["token", "create", "--room", "demo"],
        ["token", "create", "--identity", "alice"],
        ["token", "create", "--identity", "alice", "--room", "demo", "--ttl", "6 hours"],
        ["token", "create", "--identity", "alice", "--room", "demo", "--ttl", "0s"],
        ["token", "create", "--identity", "alice", "--room", "demo", "--attribute", "=x"],
        ["token", "create", "--identity", "alice", "--room", "demo", "--kind", "robot"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: " in captured.err.splitlines()[-1]


def test_the_installed_script_runs() -> None:
    script = shutil.which("trio-rpc", path=str(sys.prefix) + "/bin")
    if script is None:
        pytest.skip("the package is not installed in this environment")
    completed = subprocess.run([script, "--version"], capture_output=True, check=True)
    assert completed.stdout.startswith(b"trio-rpc ")
