"""Logs of events that peers cause: bounded in size and number, and escaped (rule B12)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from trio_rpc.protocol.logs import peer_logger


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def logger(clock: list[float]) -> Iterator[logging.Logger]:
    """A logger that has written nothing."""
    logger = peer_logger(f"trio_rpc.tests.{uuid4()}")
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.filters.clear()


@pytest.mark.rule("B12")
def test_a_long_text_is_cut(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    logger.info("it says %s", "x" * 100_000)
    assert caplog.messages == [f"it says {'x' * 300}… (100,000 characters)"]


@pytest.mark.rule("B12")
@pytest.mark.parametrize("conversion", ["%s", "%r"])
def test_a_text_forges_no_line(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, conversion: str
) -> None:
    logger.info(f"it says {conversion}", "a\nERROR forged\x1b[31m\u2028\r")  # noqa: G004
    (message,) = caplog.messages
    assert message.isprintable()
    assert "ERROR forged" in message


@pytest.mark.rule("B12")
def test_an_exception_is_bounded_and_indented(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        raise ValueError("x" * 100_000 + "\nERROR forged\x1b[31m")
    except ValueError:
        logger.exception("it failed")
    traceback = caplog.text.partition("it failed\n")[2]
    assert "ValueError: xxx" in traceback
    assert len(traceback) < 5_000
    assert all(line.startswith("  ") and line.isprintable() for line in traceback.splitlines())


@pytest.mark.rule("B12")
def test_lines_are_few_and_those_left_out_are_counted(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, clock: list[float]
) -> None:
    for _ in range(1_000):
        logger.warning("ignored %s", "something")
    assert len(caplog.messages) == 200
    clock[0] += 1
    for _ in range(1_000):
        logger.warning("ignored %s", "something")
    assert len(caplog.messages) == 210
    assert caplog.messages[200] == "ignored something (800 lines before it were left out)"
    clock[0] += 1_000
    for _ in range(1_000):
        logger.warning("ignored it")
    assert len(caplog.messages) == 410
    assert caplog.messages[210] == "ignored it (990 lines before it were left out)"
