"""The fuzzing itself: what is a failure, and what comes after one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from . import __main__ as command_line
from .choices import Choices, joined, messages, pieces
from .player import Player
from .target import Attack, PropertyError, Target, watching

logger = logging.getLogger("trio_rpc.of_the_tests")


@asynccontextmanager
async def arena() -> AsyncIterator[Attack]:
    """Fail in the ways that there are; an input is the name of one."""
    async with anyio.create_task_group() as task_group:

        async def attack(data: bytes) -> None:
            match data:
                case b"raise":
                    raise ZeroDivisionError
                case b"in a task":
                    task_group.start_soon(fail)
                    await anyio.sleep(1)
                case b"hang":
                    await anyio.sleep_forever()
                case b"log":
                    logger.error("something is wrong with %s", "this")
                case _:
                    pass

        yield attack
        task_group.cancel_scope.cancel()


async def fail() -> None:
    raise ZeroDivisionError


TARGET = Target(name="tests", about="For tests", where="test_harness:arena")


@pytest.mark.parametrize(
    ("data", "failure"),
    [
        (b"raise", ZeroDivisionError),
        (b"in a task", ZeroDivisionError),
        (b"hang", TimeoutError),
        (b"log", PropertyError),
    ],
)
def test_a_failure_is_told_and_the_next_input_is_played(
    data: bytes, failure: type[Exception]
) -> None:
    with Player(TARGET) as player:
        player.play(b"nothing")
        with pytest.raises(ExceptionGroup) as caught:
            player.play(data)
        assert caught.group_contains(failure)
        player.play(b"nothing")


@pytest.mark.parametrize("line", ["x" * 10_000, "two\nlines"])
def test_a_line_that_is_unbounded_or_unescaped_is_a_failure(line: str) -> None:
    with watching(logging.DEBUG) as raise_found:
        logger.debug("a line")
        raise_found()
        logger.debug("%s", line)
        with pytest.raises(PropertyError, match=r"^trio_rpc\.of_the_tests logged "):
            raise_found()
        raise_found()


def test_choices_come_to_an_end() -> None:
    choices = Choices(b"\x03abc\xff\x05")
    assert choices.content() == b"abc"
    assert choices.content() == b"\x05" * 65_536
    assert not choices
    assert (choices.number(), choices.flag(), choices.text()) == (0, False, "")


def test_inputs_are_cut_in_messages_and_pieces() -> None:
    assert [*messages(joined([b"a", b"", b"bc"]))] == [b"a", b"", b"bc"]
    assert [*pieces(b"\x00\x01abcd")] == [b"a", b"bc", b"d"]
    assert [*pieces(b"\xff\x01abcd")] == [b"abcd"]


def test_the_command_line_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        command_line.main(["--help"])
    assert "examples:" in capsys.readouterr().out
    assert command_line.main(["--list"]) == 0
    assert "records " in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"^2$"):
        command_line.main(["nothing"])
    assert "'nothing' is none of frames, packets, " in capsys.readouterr().err
