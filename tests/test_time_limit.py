"""The limits that every test has: one that waits for ever fails, and says where it waited."""

from __future__ import annotations

import signal
import threading
import traceback

import anyio
import pytest

from .support import time_limit
from .support.time_limit import alarm, limited

pytestmark = pytest.mark.anyio


async def wait_for_ever() -> None:
    await anyio.sleep_forever()


async def test_a_test_that_waits_for_ever_fails_where_it_waits() -> None:
    started = anyio.current_time()
    with pytest.raises(TimeoutError, match=r"^the test still waited here after 60 s$") as caught:
        await limited(wait_for_ever, 60)()
    assert anyio.current_time() - started == 60
    assert "await anyio.sleep_forever()" in "".join(traceback.format_exception(caught.value))


async def test_so_does_one_whose_tasks_wait_for_ever() -> None:
    async def wait_for_a_task() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_ever)

    with pytest.raises(TimeoutError, match=r"^the test still waited here after 60 s$"):
        await limited(wait_for_a_task, 60)()


async def test_what_fails_in_time_fails_as_it_would() -> None:
    async def fail(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match=r"^as it would$"):
        await limited(fail, 60)("as it would")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no alarms")
def test_a_test_that_blocks_for_ever_is_interrupted(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limit, "REAL_LIMIT", 0.04)
    with (
        pytest.raises(TimeoutError, match=r"^the test still ran here after 0\.1 s$"),
        alarm(request.node),
    ):
        threading.Event().wait()
