"""Participants who come in over a plain socket: TCP, TLS or a socket in the file system.

Whoever connects has a bounded time to say who it is. There are as many of these as may be joining;
when there are more, the one that has waited for longest is let go, so that connections that say
nothing can't keep out those that do.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from attrs import define, field
from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from .. import concurrency
from ..concurrency import IGNORED_TASK_STATUS, Backend, CancelScope, Event, TaskStatus
from ..links import LinkClosedError, open_framed_link
from ..links.byte_streams import ByteStream
from ..links.framed import CLOSE_TIMEOUT
from ..links.record_stream import RecordStream
from ..links.records import (
    MAX_HELLO_BYTES,
    PREAMBLE,
    ProtocolMismatchError,
    RecordKind,
    encode_record,
)
from ..links.stream import StreamAddress
from ..links.tls import TlsByteStream, speaks_no_tls
from ..logs import peer_logger
from ..tokens import Claims, InvalidTokenError
from .listening import (
    listen_tcp,
    listen_unix,
    load_certificate,
    run_server,
    serve_connections,
)
from .room_server import RoomServer
from .room_table import JoinRefusedError
from .sessions import serve_member

logger = peer_logger(__name__)

#: Seconds that connections get to end when the server shuts down.
_GRACEFUL_TIMEOUT: Final = 5.0
#: How many capabilities a client may name: the others are told all of them.
_MAX_CAPABILITIES: Final = 32


async def serve_stream(
    server: RoomServer,
    url: str,
    *,
    certfile: str | os.PathLike[str] | None = None,
    keyfile: str | os.PathLike[str] | None = None,
    task_status: TaskStatus = IGNORED_TASK_STATUS,
) -> None:
    """Serve stream links until cancelled; then tell every participant why, and end.

        url = await nursery.start(serve_stream, RoomServer(api_keys), "tcp://127.0.0.1:0")

    Args:
        server: The rooms; they may be served elsewhere as well.
        url: Where to listen: `tcp://host:port`, `tls://host:port`, where port 0 is a free one, or
            `unix:///path`. A socket in the file system is for its owner alone, and is removed at
            the end.
        certfile: For `tls://`: a certificate chain in PEM, with its `keyfile`.
        keyfile: The certificate's private key in PEM.
        task_status: Told the URL that clients connect to, once they can.

    Raises:
        ValueError: the URL is none of a stream link, or is `tls://` without a certificate.
        OSError: the address can't be listened on, or a file not be read (`ssl.SSLError`: or not be
            used).
    """
    address = StreamAddress.parse(url)
    ssl_context = _ssl_context(certfile, keyfile) if address.scheme == "tls" else None
    listener, bound = _listen(address)
    doorkeeper = _Doorkeeper(server, concurrency.current(), bound.scheme, ssl_context)

    def on_stop() -> None:
        if bound.scheme == "unix":
            Path(bound.path).unlink(missing_ok=True)
        doorkeeper.send_away()

    async def serve_until(stop: Event) -> None:
        await serve_connections(
            listener,
            doorkeeper.serve_connection,
            stop,
            on_stop=on_stop,
            graceful_timeout=_GRACEFUL_TIMEOUT,
        )

    await run_server(serve_until, server.shut_down, str(bound), task_status)


# Who has not joined yet


@define(eq=False)
class _Place:
    """One connection that has not joined yet.

    Attributes:
        scope: Cancelled to let it go.
        refusal: What it is told when `scope` ends it.
    """

    scope: CancelScope
    refusal: JoinRefusedError

    def let_go(self, text: str) -> None:
        self.refusal = JoinRefusedError(text, 503)
        self.scope.cancel()


@define(eq=False)
class _Doorkeeper:
    """Serves connections, and bounds those that have not joined."""

    _server: RoomServer
    _backend: Backend
    _scheme: str
    _ssl_context: ssl.SSLContext | None
    # The one that came first is first
    _places: dict[_Place, None] = field(factory=dict[_Place, None], init=False)

    async def serve_connection(self, _: socket.socket, stream: ByteStream) -> None:
        """Serve a connection to its end."""
        if (joining := await self._let_in(stream)) is not None:
            records, claims, client = joining
            limit = self._server.limits.max_queue_bytes
            async with open_framed_link(records, max_queue_bytes=limit) as link:
                await serve_member(self._server, link, claims, client)

    def send_away(self) -> None:
        """Let everybody go who has not joined yet."""
        for place in tuple(self._places):
            place.let_go("the server shuts down")

    async def _let_in(
        self, stream: ByteStream
    ) -> tuple[RecordStream, Claims, models.ClientInfo] | None:
        records = RecordStream(stream, MAX_HELLO_BYTES)
        try:
            with self._place() as place:
                if self._ssl_context is not None:
                    tls = TlsByteStream(stream, self._ssl_context)
                    await _shake_hands(tls)
                    records = RecordStream(tls, MAX_HELLO_BYTES)
                claims, client = await self._receive_hello(records)
                # From here on it is bounded as every participant is.
                records.accept(self._server.limits.max_message_bytes)
                await records.send(_answer(200, ""))
                return records, claims, client
            raise place.refusal
        except JoinRefusedError as error:
            logger.info("refused a connection: %d %s", error.status, error)
            with suppress(LinkClosedError), self._backend.move_on_after(CLOSE_TIMEOUT):
                await records.send(_answer(error.status, str(error)))
                await records.finish()
        return None

    @contextmanager
    def _place(self) -> Generator[_Place]:
        """A block that ends when the connection is let go, with what it is to be told."""
        limits = self._server.limits
        if len(self._places) >= limits.max_joins_in_flight:
            oldest = next(iter(self._places))
            oldest.let_go(f"{limits.max_joins_in_flight} others wait to join: try again")
            del self._places[oldest]
        timeout = limits.handshake_timeout
        scope = self._backend.cancel_scope(deadline=self._backend.current_time() + timeout)
        refusal = JoinRefusedError(f"you did not say who you are within {timeout:g} s", 408)
        place = _Place(scope, refusal)
        self._places[place] = None
        try:
            with scope:
                yield place
        finally:
            self._places.pop(place, None)

    async def _receive_hello(self, records: RecordStream) -> tuple[Claims, models.ClientInfo]:
        try:
            kind, body = await records.receive_record()
            if kind is not RecordKind.HELLO:
                raise JoinRefusedError(f"it began with {kind.name} in place of HELLO", 400)
            token, _, request = body.partition(b"\n")
            client = _bounded(rtc.JoinRequest.FromString(request).client_info)
            claims = self._server.authenticate(token.decode(errors="replace"))
            with self._server.admission():
                self._server.check_space(claims)
        except ProtocolMismatchError as error:
            text = f"this port takes stream links ({self._scheme}://), not {error.spoken}"
            raise JoinRefusedError(text, 400) from None
        except LinkClosedError as error:
            raise JoinRefusedError(str(error), 400) from None
        except DecodeError:
            raise JoinRefusedError("its HELLO holds no JoinRequest", 400) from None
        except InvalidTokenError as error:
            raise JoinRefusedError(str(error), 401) from None
        return claims, client


async def _shake_hands(tls: TlsByteStream) -> None:
    try:
        await tls.shake_hands()
    except ssl.SSLError as error:
        if speaks_no_tls(error):
            raise JoinRefusedError("this port takes TLS alone (tls://)", 400) from None
        raise


def _answer(status: int, text: str) -> bytes:
    return PREAMBLE + encode_record(RecordKind.ANSWER, f"{status} {text}".encode())


def _bounded(client: models.ClientInfo) -> models.ClientInfo:
    """What a client says of itself, as far as that is of use to anybody."""
    bounded = models.ClientInfo(
        version=client.version[:64], client_protocol=min(client.client_protocol, 1_000)
    )
    bounded.capabilities.extend(client.capabilities[:_MAX_CAPABILITIES])
    return bounded


# Listening


def _ssl_context(
    certfile: str | os.PathLike[str] | None, keyfile: str | os.PathLike[str] | None
) -> ssl.SSLContext:
    if certfile is None:
        raise ValueError("tls:// wants a certificate: certfile and keyfile")
    return load_certificate(certfile, keyfile)


def _listen(address: StreamAddress) -> tuple[socket.socket, StreamAddress]:
    """A socket that listens, and the address that clients connect to."""
    if address.scheme == "unix":
        _remove_stale_socket(Path(address.path))
        return listen_unix(address.path), address
    listener = listen_tcp(address.host, address.port)
    host, port = listener.getsockname()[:2]
    return listener, StreamAddress(address.scheme, host, port)


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket that a server has left behind which did not end as it should."""
    if not path.is_socket():
        return  # what else may be there, `bind` refuses
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink(missing_ok=True)
