"""The offers of honest participants to adversaries, and what these must never send unnoticed.

Their handlers run for calls of adversaries too, and they have handlers for texts, bytes and data.
Each checks that what it is given comes from whom it says it is from, and from somebody who may
send at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from random import Random
from typing import Any, Final

import anyio

from trio_rpc import (
    ByteStreamReader,
    DataPacket,
    RpcInvocationData,
    StreamError,
    TextStreamReader,
)

from ..causes import EPSILON
from ..checker import Checker
from ..records import Session
from . import forging

_MAX_ID_BYTES: Final = 128
_SIGNED: Final = re.compile(r"<by ([^>]*)>")


class HonestSide:
    """Checks what adversaries bring about at honest participants.

    Args:
        may_send: Of each adversary, whether it has the permission to send data.
    """

    def __init__(self, checker: Checker, may_send: dict[str, bool]) -> None:
        self._checker = checker
        self._may_send = may_send
        # Which handlers run or have run, by session, caller and request: since and until when
        self._handled: dict[tuple[str, str, str], tuple[float, float]] = {}

    def knows(self, identity: str) -> bool:
        """Whether a participant is an adversary."""
        return identity in self._may_send or identity.startswith("storm ")

    # Calls

    async def answer(self, data: RpcInvocationData, session: Session) -> str:
        """Run as the handler of an adversary's call.

        Raises:
            ViolationError: the handler must not run for this.
        """
        caller, fail = data.caller_identity, self._checker.fail
        self._check_sender(caller, "called", session)
        if not 1 <= len(data.request_id.encode()) <= _MAX_ID_BYTES:
            fail(f"{session.identity} was called with an id of {len(data.request_id):,} characters")
        wanted = _wanted(data.payload)
        if wanted.get("by", caller) != caller:
            fail(f"{session.identity} was called by {caller} with what {wanted['by']} had sent")
        started = anyio.current_time()
        self._check_duplicate(data, wanted, session, started)
        await anyio.sleep(wanted.get("seconds", 0.0))
        if wanted.get("cancelled"):
            fail(f"a call of {caller} to {session.identity} was given up, and its handler ran on")
        if anyio.current_time() > started + data.response_timeout + EPSILON:
            fail(f"a handler of {session.identity} outlived the time of {caller}'s call")
        return _noise(int(wanted.get("answer", 0)))

    def _check_duplicate(
        self, data: RpcInvocationData, wanted: dict[str, Any], session: Session, now: float
    ) -> None:
        if "session" not in wanted:
            return
        # The same identity in another session is another caller.
        key = (f"{id(session)}", wanted["session"], data.request_id)
        since, until = self._handled.get(key, (0.0, -1.0))
        # Once its caller was seen to leave, a request may run again: its id is forgotten.
        if now <= until and not session.has_seen_leave(wanted["by"], since, now):
            self._checker.fail(
                f"a handler of {session.identity} ran twice for request {data.request_id!r} of "
                f"{data.caller_identity}"
            )
        if len(self._handled) > 10_000:
            self._handled = {each: when for each, when in self._handled.items() if when[1] > now}
        self._handled[key] = now, now + min(data.response_timeout, 10.0)

    # Streams and data

    @contextmanager
    def receive(self, session: Session) -> Iterator[None]:
        """Have handlers for texts, bytes and data in the room of a session."""
        room = session.room
        read_text, read_bytes = partial(self._read, session), partial(self._read, session)
        on_data = partial(self._on_data, session)
        room.register_text_stream_handler(forging.TEXT_TOPIC, read_text)
        room.register_byte_stream_handler(forging.BYTES_TOPIC, read_bytes)
        room.on("data_received", on_data)
        try:
            yield
        finally:
            room.unregister_text_stream_handler(forging.TEXT_TOPIC)
            room.unregister_byte_stream_handler(forging.BYTES_TOPIC)
            room.off("data_received", on_data)

    async def _read(
        self, session: Session, reader: TextStreamReader | ByteStreamReader, sender: str
    ) -> None:
        self._check_sender(sender, "sent a stream", session)
        said = reader.info.attributes.get("by", sender)
        if said != sender:
            self._checker.fail(
                f"{session.identity} was sent a stream by {sender} that {said} began"
            )
        # Some read at once, some late, and some have lost interest.
        match len(reader.info.stream_id) % 3:
            case 0:
                return
            case 1:
                await anyio.sleep(0.3)
        try:
            content = await reader.read_all()
        except StreamError:
            return
        if isinstance(content, str):
            self._check_signatures(content, sender, "a text", session)

    def _on_data(self, session: Session, data: DataPacket) -> None:
        sender = data.participant.identity if data.participant else None
        text = data.data[:200].decode(errors="replace")
        for author in _SIGNED.findall(text):
            self._check_sender(author, "sent data", session)
        if sender is not None:
            self._check_signatures(text, sender, "data", session)

    def _check_signatures(self, text: str, sender: str, what: str, session: Session) -> None:
        for author in _SIGNED.findall(text):
            if author != sender:
                self._checker.fail(f"{session.identity} had {what} of {author}, as from {sender}")

    def _check_sender(self, sender: str, what: str, session: Session) -> None:
        if not self._may_send.get(sender, True):
            self._checker.fail(f"{sender}, who may not send, {what}: to {session.identity}")


@cache
def _noise(size: int) -> str:
    """Text that deflate makes half as large."""
    return Random(size).randbytes(size // 2).hex()


def _wanted(payload: str) -> dict[str, Any]:
    try:
        wanted: Any = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return wanted if isinstance(wanted, dict) and "by" in wanted else {}
