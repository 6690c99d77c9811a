"""Streams whose opening and writing is cancelled at each step."""

from __future__ import annotations

import anyio
import pytest

from trio_rpc import StreamError, TextStreamReader

from ..conftest import Join
from .injection import Moment, Whose, cancel_at_each_step, every_moment
from .rooms import at_rest, call, two_rooms

pytestmark = pytest.mark.anyio


@every_moment
@pytest.mark.rule("S6")
async def test_a_stream_that_is_cancelled_at_any_step_has_an_end(
    join: Join, moment: Moment, whose: Whose
) -> None:
    async with two_rooms(join) as (alice, bob):
        begun = 0
        endings: list[str] = []

        async def read(reader: TextStreamReader, sender: str) -> None:
            nonlocal begun
            begun += 1
            try:
                endings.append(await reader.read_all())
            except StreamError as error:
                endings.append(str(error))

        bob.register_text_stream_handler("story", read)

        async def subject() -> None:
            async with alice.local_participant.stream_text(topic="story") as writer:
                for _ in range(3):
                    await writer.write("x" * 10)
                    await anyio.lowlevel.checkpoint()

        async def check() -> None:
            # Once Bob has answered he has received what was sent before.
            assert await call(alice) == "hi"
            await at_rest(alice, bob)
            await anyio.wait_all_tasks_blocked()
            assert len(endings) == begun

        assert await cancel_at_each_step(subject, check, moment=moment, whose=whose) >= 2
        whole = "x" * 30
        assert whole in endings
        assert any("the sender broke off" in ending for ending in endings if ending != whole)
