"""One HTTP/1.1 connection: h11 reads and writes what goes over a stream of bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from typing import Any, Final, TypeAlias

import h11
from attrs import define, field, frozen

from ... import concurrency
from ...net.byte_streams import ByteStream
from ...net.handshakes import Handshake, PendingHandshakes

_SentEvent: TypeAlias = h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage
#: How many events of h11's come from what was read at once before the others have their turn.
_EVENTS_IN_A_TURN: Final = 32
#: Where a head ends, for h11 at least.
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
#: States in which an answer can still be given.
_UNANSWERED: Final = (h11.IDLE, h11.SEND_RESPONSE)


class PeerGoneError(ConnectionError):
    """The other side of a connection is not there any more to be sent something."""


@frozen
class HttpLimits:
    """What an HTTP connection may take. How large a body may be is for the app to say.

    Attributes:
        max_head_bytes: The request line and the headers together; above it, 431.
        max_headers: The lines of headers in a head; above it, 431.
        max_message_bytes: A WebSocket message, whole or in fragments; above it, closed with 1009.
        max_handshakes: Connections that are waited for, since they have not sent the head of a
            request or do not take their answer; with one more, one of them is closed (B11).
        max_handshakes_per_address: The same for those of one address.
        request_timeout: Seconds for the head of a request, from when the connection was opened or
            the last answer was sent; after them, 408. And as many for the peer to take a part of
            the answer.
        close_timeout: Seconds in which a peer may take what was sent last.
        graceful_timeout: Seconds that connections get to end when the server does.
    """

    max_head_bytes: int = 32 * 1024
    max_headers: int = 100
    max_message_bytes: int = 1024 * 1024
    max_handshakes: int = 1_000
    max_handshakes_per_address: int = 200
    request_timeout: float = 10.0
    close_timeout: float = 2.0
    graceful_timeout: float = 5.0


@define(eq=False)
class HttpConnection:
    """Requests that come over a stream, and answers to them, one after another.

    Attributes:
        handshakes: Those of all connections of the server.
        address: Where this one comes from, see `address_of`.
    """

    stream: ByteStream
    limits: HttpLimits
    handshakes: PendingHandshakes
    address: str | None = None
    _http: h11.Connection = field(init=False)
    # What was read, and is not for h11 to see yet
    _ahead: memoryview = field(default=memoryview(b""), init=False)
    _events: int = field(default=0, init=False)
    _is_chunked: bool = field(default=False, init=False)
    _may_write: bool = field(default=True, init=False)
    _waiting: Handshake | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        # h11 gets no more than a head may have, and refuses one that is not complete by then.
        self._http = h11.Connection(h11.SERVER, self.limits.max_head_bytes - 1)

    def stop(self) -> None:
        """Take no request after the one that is being answered."""
        self._stopped = True
        if self._waiting is not None:
            self._waiting.scope.cancel()

    async def receive_request(self) -> h11.Request | None:
        """The next request, its head that is; None when no more will come, or can be taken."""
        timeout = self.limits.request_timeout
        try:
            with self.handshakes.open(self.address, timeout) as handshake:
                self._waiting = handshake
                event = None if self._stopped else await self.receive_event()
                if not isinstance(event, h11.Request):
                    return None
                # The requests that follow may have come already, as those of many others.
                await self.handshakes.take_turn()
                self._is_chunked = any(name == b"transfer-encoding" for name, _ in event.headers)
                return event
        except h11.RemoteProtocolError as error:
            await self.refuse(error.error_status_hint, str(error))
            return None
        finally:
            self._waiting = None
        if self._http.trailing_data[0] and not self._stopped:
            if handshake.rejection:
                await self.refuse(503, handshake.rejection)
            else:
                await self.refuse(408, f"the request did not come within {timeout:g} s")
        return None

    async def receive_event(self) -> Any:
        """h11's next event.

        Raises:
            h11.RemoteProtocolError: what came is not HTTP/1.1, is too large, or ends too early.
        """
        await self._give_turn()
        while (event := self._next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            if not self._ahead:
                self._ahead = memoryview(await self.stream.receive())
            self._feed()
        return event

    def _next_event(self) -> Any:
        if self._http.their_state is h11.IDLE:
            self._check_head(self._http.trailing_data[0])
        return self._http.next_event()

    def _check_head(self, data: bytes) -> None:
        """Refuse a head of too many lines before h11 parses any: thousands take it 20 ms."""
        limit = self.limits.max_headers
        if data.count(b"\n") > limit:
            blank_line = _BLANK_LINE.search(data)
            if data.count(b"\n", 0, blank_line.start() if blank_line else len(data)) > limit:
                text = f"the request has more than {limit} lines of headers"
                raise h11.RemoteProtocolError(text, error_status_hint=431)

    def _feed(self) -> None:
        """Give h11 the next of what was read; the end of the connection when that is nothing."""
        room = self.limits.max_head_bytes - len(self._http.trailing_data[0])
        self._http.receive_data(bytes(self._ahead[:room]))
        self._ahead = self._ahead[room:]

    async def _give_turn(self) -> None:
        """Let the others have their turn now and then: one read may hold thousands of events."""
        self._events += 1
        if self._events % _EVENTS_IN_A_TURN == 0:
            await concurrency.current().checkpoint()

    async def wait_gone(self) -> None:
        """Wait until the peer does not wait for an answer any more, but ends the connection."""
        while len(self._ahead) <= self.limits.max_head_bytes:
            data = await self.stream.receive()
            if not data:
                return
            # The next request, which is looked at later; as much of it as may be kept.
            self._ahead = memoryview(bytes(self._ahead) + data)
        await concurrency.current().sleep_forever()

    async def send(self, *events: _SentEvent) -> None:
        """Send h11's events, all at once.

        Raises:
            h11.LocalProtocolError: they are none that may come next.
            PeerGoneError: the peer is gone, or does not take them in time.
        """
        data = b"".join(self._http.send(event) or b"" for event in events)
        await self._drain()
        try:
            self._may_write = self.stream.write(data)
        except OSError as error:
            raise PeerGoneError(str(error)) from None
        await self._drain()

    async def _drain(self) -> None:
        if self._may_write:
            return
        timeout = self.limits.request_timeout
        with self.handshakes.open(self.address, timeout) as handshake:
            try:
                await self.stream.drain()
            except OSError as error:
                raise PeerGoneError(str(error)) from None
            self._may_write = True
            return
        raise PeerGoneError(handshake.rejection or f"it took no answer within {timeout:g} s")

    async def refuse(self, status: int, text: str) -> None:
        """Answer with an error, unless an answer has begun already, and with nothing after it."""
        if self._http.our_state in _UNANSWERED:
            body = text.encode()
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
            ]
            await self.send(response(status, headers), h11.Data(data=body), h11.EndOfMessage())

    def is_kept_alive(self) -> bool:
        """Whether the answer has ended, and another request may come.

        A body that the app has not read must have come by now, and cost nothing to pass over: that
        of chunks may be any number of them.
        """
        if self._is_chunked and self._http.their_state is h11.SEND_BODY:
            return False
        try:
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA and self._ahead:
                    self._feed()
                elif not isinstance(event, h11.Data):
                    break
        except h11.RemoteProtocolError:
            return False
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False

    async def finish(self) -> None:
        """Let the peer take what was sent last, for as long as that may take.

        To close a socket while something in it is unread would reset the connection, and what was
        sent last might never be read.
        """
        if self._http.our_state is h11.IDLE:
            return
        timeout = self.limits.close_timeout
        with (
            # Who has a WebSocket was accepted.
            concurrency.current().move_on_after(timeout)
            if self._http.our_state is h11.SWITCHED_PROTOCOL
            else self.handshakes.closing(self.address, timeout)
        ):
            self.stream.write_eof()
            while await self.stream.receive():
                pass

    async def switch_protocols(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Answer 101; returns what came already of the protocol that is spoken from here on."""
        await self.send(h11.InformationalResponse(status_code=101, headers=[*headers]))
        early = self._http.trailing_data[0] + self._ahead
        self._ahead = memoryview(b"")
        return early


def response(status: int, headers: Iterable[tuple[bytes, bytes]]) -> h11.Response:
    """The head of a response, with the date, as HTTP wants it."""
    date = (b"date", formatdate(usegmt=True).encode())
    return h11.Response(status_code=status, headers=[date, *headers])
