"""One HTTP/1.1 connection: h11's protocol over a stream of bytes."""

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
#: The events of h11 in one read after which the other tasks have their turn.
_EVENTS_IN_A_TURN: Final = 32
#: The end of a head, as h11 sees it.
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
#: States in which an answer can still be given.
_UNANSWERED: Final = (h11.IDLE, h11.SEND_RESPONSE)


class PeerGoneError(ConnectionError):
    """The peer of a connection is gone, and nothing can be sent to it."""


@frozen
class HttpLimits:
    """The limits of an HTTP connection. The app itself limits the size of a body.

    Attributes:
        max_head_bytes: The request line and the headers together; above it, 431.
        max_headers: The lines of headers in a head; above it, 431.
        max_message_bytes: A WebSocket message, whole or in fragments; above it, closed with 1009.
        max_handshakes: Connections that keep us waiting, since they have not sent the head of a
            request or do not read their response; with one more, one of them is closed (B11).
        max_handshakes_per_address: The same for connections from one address.
        request_timeout: Seconds for the head of a request, from the opening of the connection or
            the end of the last response; after them, 408. Also the seconds in which the peer has to
            read a part of the response.
        close_timeout: Seconds in which a peer may read the last data sent.
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
    """An HTTP/1.1 connection: requests over a stream, and responses to them, one after another.

    Attributes:
        handshakes: The pending handshakes of all connections of the server.
        address: The address of the peer, see `address_of`.
    """

    stream: ByteStream
    limits: HttpLimits
    handshakes: PendingHandshakes
    address: str | None = None
    _http: h11.Connection = field(init=False)
    # Bytes that were read, and are not given to h11 yet
    _ahead: memoryview = field(default=memoryview(b""), init=False)
    _events: int = field(default=0, init=False)
    _is_chunked: bool = field(default=False, init=False)
    _may_write: bool = field(default=True, init=False)
    _waiting: Handshake | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        # h11 gets at most the size of a head, and refuses a head that is not complete by then.
        self._http = h11.Connection(h11.SERVER, self.limits.max_head_bytes - 1)

    def stop(self) -> None:
        """Accept no request after the one that is being answered."""
        self._stopped = True
        if self._waiting is not None:
            self._waiting.scope.cancel()

    async def receive_request(self) -> h11.Request | None:
        """Receive the head of the next request; None when there is none, or it was refused."""
        timeout = self.limits.request_timeout
        try:
            with self.handshakes.open(self.address, timeout) as handshake:
                self._waiting = handshake
                event = None if self._stopped else await self.receive_event()
                if not isinstance(event, h11.Request):
                    return None
                # The next requests may be here already, of this connection and of many others.
                if asks_for_websocket(event):
                    await self.handshakes.take_login_turn()
                else:
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
        """Receive h11's next event.

        Raises:
            h11.RemoteProtocolError: the peer sent something that is not HTTP/1.1, is too large, or
                ends too early.
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
        """Refuse a head of too many lines before h11 parses it, which takes 20 ms for thousands."""
        limit = self.limits.max_headers
        if data.count(b"\n") > limit:
            blank_line = _BLANK_LINE.search(data)
            if data.count(b"\n", 0, blank_line.start() if blank_line else len(data)) > limit:
                text = f"the request has more than {limit} lines of headers"
                raise h11.RemoteProtocolError(text, error_status_hint=431)

    def _feed(self) -> None:
        """Give h11 the next bytes that were read; none at the end of the connection."""
        room = self.limits.max_head_bytes - len(self._http.trailing_data[0])
        self._http.receive_data(bytes(self._ahead[:room]))
        self._ahead = self._ahead[room:]

    async def _give_turn(self) -> None:
        """Let other tasks have their turn now and then: one read may hold thousands of events."""
        self._events += 1
        if self._events % _EVENTS_IN_A_TURN == 0:
            await concurrency.current().checkpoint()

    async def wait_gone(self) -> None:
        """Wait until the peer ends the connection, and so gives up waiting for a response."""
        while len(self._ahead) <= self.limits.max_head_bytes:
            data = await self.stream.receive()
            if not data:
                return
            # The next request is parsed later; as much of it as the limit allows is kept.
            self._ahead = memoryview(bytes(self._ahead) + data)
        await concurrency.current().sleep_forever()

    async def send(self, *events: _SentEvent) -> None:
        """Send h11's events, all at once.

        Raises:
            h11.LocalProtocolError: the events may not come next.
            PeerGoneError: the peer is gone, or does not read in time.
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
        raise PeerGoneError(handshake.rejection or f"it read no response within {timeout:g} s")

    async def refuse(self, status: int, text: str) -> None:
        """Respond with an error that closes the connection, unless a response has begun already."""
        if self._http.our_state in _UNANSWERED:
            body = text.encode()
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
            ]
            await self.send(response(status, headers), h11.Data(data=body), h11.EndOfMessage())

    def is_kept_alive(self) -> bool:
        """Whether the response has ended, and another request may come.

        A body that the app has not read has to be here already, and is skipped; a chunked one may
        consist of any number of chunks, so it ends the connection.
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
        """Wait until the peer has read the last data sent, for at most `close_timeout`.

        Closing a socket with unread data in it would reset the connection, and the last data sent
        might never be read.
        """
        if self._http.our_state is h11.IDLE:
            return
        timeout = self.limits.close_timeout
        with (
            # A WebSocket was accepted, and is no pending handshake.
            concurrency.current().move_on_after(timeout)
            if self._http.our_state is h11.SWITCHED_PROTOCOL
            else self.handshakes.closing(self.address, timeout)
        ):
            self.stream.write_eof()
            while await self.stream.receive():
                pass

    async def switch_protocols(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Respond with 101; return the bytes of the next protocol that are here already."""
        await self.send(h11.InformationalResponse(status_code=101, headers=[*headers]))
        early = self._http.trailing_data[0] + self._ahead
        self._ahead = memoryview(b"")
        return early


def response(status: int, headers: Iterable[tuple[bytes, bytes]]) -> h11.Response:
    """Return the head of a response, with the date that HTTP requires."""
    date = (b"date", formatdate(usegmt=True).encode())
    return h11.Response(status_code=status, headers=[date, *headers])


def asks_for_websocket(request: h11.Request) -> bool:
    """Whether a request asks for an upgrade to a WebSocket."""
    upgrade: set[bytes] = set()
    connection: set[bytes] = set()
    for name, value in request.headers:
        if name == b"upgrade":
            upgrade.add(value.strip().lower())
        elif name == b"connection":
            connection.update(option.strip().lower() for option in value.split(b","))
    return request.method == b"GET" and upgrade == {b"websocket"} and b"upgrade" in connection
