"""`trio-rpc demo`, as a process."""

from __future__ import annotations

import io
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trio_rpc.cli.demo.output import Output
from trio_rpc.cli.demo.scenes import CAST, SCENES

from .command import command_line, environment, one_line, run

IMPORTS = "import trio_rpc.cli.demo.command as demo\nfrom attrs import evolve"
TOOK = re.compile(r" +(\d+) ms$")


def scenes_in(output: str) -> dict[str, list[str]]:
    """Return the lines of each scene, by its headline."""
    blocks = [block.splitlines() for block in output.split("\n\n")]
    return {block[0]: block[1:] for block in blocks if re.match(r"\d+\. ", block[0])}


def said_by(identity: str, lines: list[str]) -> list[str]:
    name = f"{identity} ({CAST[identity]})"
    return [line.split(name)[1].strip() for line in lines if name in line]


@pytest.mark.rule("A2", "A5", "A6", "C8", "L1")
def test_it_shows_every_scene_from_both_sides() -> None:
    completed = run("demo")
    assert (completed.returncode, completed.stderr) == (0, "")
    scenes = scenes_in(completed.stdout)
    assert list(scenes) == [f"{number}. {scene.title}" for number, scene in enumerate(SCENES, 1)]
    for scene, lines in zip(SCENES, scenes.values(), strict=True):
        for identity in CAST:
            seen = [TOOK.sub("", line) for line in said_by(identity, lines)]
            assert seen == [text for who, text in scene.expected if who == identity]
        calls = [line for line in lines if " gets " in line]
        assert calls
        assert all(TOOK.search(line) for line in calls)
        # The call is what everything begins with, and its outcome is the last thing.
        assert said_by(scene.caller, lines[:1])
    assert re.search(r"\n8 scenes, all as expected, in \d+\.\d s\.\nNext: ", completed.stdout)
    assert "\033" not in completed.stdout


def test_calls_go_both_ways_between_trio_and_asyncio() -> None:
    assert {scene.caller for scene in SCENES} == {"alice", "bob"} == set(CAST)
    assert set(CAST.values()) == {"trio", "asyncio"}


def test_it_has_no_use_for_the_environment() -> None:
    completed = run(
        "demo",
        LIVEKIT_URL="ws://127.0.0.1:1",
        LIVEKIT_API_KEY="another",
        LIVEKIT_API_SECRET="short",
    )
    assert (completed.returncode, completed.stderr) == (0, "")


def test_verbose_logs_in_all_processes() -> None:
    completed = run("demo", "--verbose")
    assert completed.returncode == 0
    assert " joined room 'demo' as 'bob'" in completed.stderr


# Failures


def test_a_difference_is_shown_and_ends_with_4() -> None:
    change = "evolve(demo.SCENES[0], expected=(('alice', 'x'), *demo.SCENES[0].expected[1:]))"
    completed = run("demo", before=f"{IMPORTS}\ndemo.SCENES = ({change}, *demo.SCENES[1:])")
    assert completed.returncode == 4
    greeting = scenes_in(completed.stdout)[f"1. {SCENES[0].title}"]
    assert greeting[-1].strip().startswith("NOT AS EXPECTED of alice: ['x', ")
    assert completed.stdout.count("NOT AS EXPECTED") == 1
    assert one_line(completed.stderr) == ("trio-rpc demo: error: 7 of 8 scenes were as expected")


def test_a_scene_that_does_not_end_is_given_up() -> None:
    change = "evolve(demo.SCENES[0], expected=(*demo.SCENES[0].expected, ('bob', 'x')))"
    completed = run(
        "demo",
        before=f"{IMPORTS}\ndemo._SCENE_TIMEOUT = 0.5\ndemo.SCENES = ({change},)",
    )
    assert completed.returncode == 4
    assert "NOT AS EXPECTED of bob: " in completed.stdout
    assert one_line(completed.stderr) == "trio-rpc demo: error: a scene did not come to its end"


def test_participants_that_do_not_end_are_ended() -> None:
    # They wait for scenes that never begin.
    completed = run(
        "demo", before=f"{IMPORTS}\ndemo._SCENE_TIMEOUT = 2\ndemo.SCENES = demo.SCENES[:1]"
    )
    assert completed.returncode == 4
    assert one_line(completed.stderr) == (
        "trio-rpc demo: error: the participants did not end with the play"
    )


def test_participants_that_do_not_come_are_missed() -> None:
    completed = run("demo", before=f"{IMPORTS}\ndemo._JOIN_TIMEOUT = 0")
    assert completed.returncode == 4
    assert one_line(completed.stderr) == (
        "trio-rpc demo: error: alice and bob did not join the room"
    )


def test_a_participant_that_fails_says_why() -> None:
    completed = run("demo", before=f"{IMPORTS}\ndemo._Play._token = lambda *args: 'nonsense'")
    assert completed.returncode == 4
    *participants, end = completed.stderr.splitlines()
    assert participants
    for line in participants:
        assert re.match(r"trio-rpc demo: (alice|bob): error: .* refused with 401: ", line)
    assert re.match(r"trio-rpc demo: error: (alice|bob) failed: ", end)


@contextmanager
def running_demo() -> Iterator[subprocess.Popen[str]]:
    """Run the demo, which is killed with the block; its first scene has begun."""
    with subprocess.Popen(
        command_line("demo"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert any(line.startswith("1. ") for line in iter(process.stdout.readline, ""))
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_processes_quietly(number: signal.Signals, code: int) -> None:
    with running_demo() as process:
        process.send_signal(number)
        # The participants have the same stderr: it ends when the last of them has.
        output, errors = process.communicate()
    assert (process.returncode, errors) == (code, "")
    assert "8 scenes" not in output


def test_participants_end_when_the_demo_is_killed() -> None:
    with running_demo() as process:
        process.kill()
        _, errors = process.communicate()
    assert "Traceback" not in errors


# Appearance


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(stream: io.StringIO) -> str:
    output = Output(stream)
    output.line("alice", "calls", 12.4)
    output.failure("NOT AS EXPECTED")
    return stream.getvalue()


def test_a_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = written(Terminal())
    assert text.startswith("   \033[36malice (trio)   \033[0m calls ")
    assert "\033[31mNOT AS EXPECTED\033[0m" in text


def test_no_color_takes_them_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in written(Terminal())


def test_what_is_no_terminal_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = written(io.StringIO())
    assert text.splitlines() == [
        f"   alice (trio)    {'calls':<56}    12 ms",
        "   NOT AS EXPECTED",
    ]


def test_lines_fit_into_a_terminal_of_usual_width() -> None:
    for scene in SCENES:
        for who, text in scene.expected:
            stream = io.StringIO()
            Output(stream).line(who, text, 9999)
            assert len(stream.getvalue().rstrip("\n")) <= 85
