"""A listener for stream links: participants over TCP, TLS or a socket in the file system.

A connection has to present its token in a bounded time and a bounded number of bytes, and the
number of pending handshakes is bounded too (rule B11).
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import define, field
from google.protobuf.message import DecodeError
from livekit.protocol import rtc

from .. import concurrency
from ..concurrency import IGNORED_TASK_STATUS, Backend, Event, TaskStatus
from ..errors import RefusedError
from ..links import LinkClosedError, open_framed_link
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
from ..net.byte_streams import ByteStream
from ..net.handshakes import PendingHandshakes, address_of
from ..net.listening import listen_tcp, listen_unix, load_certificate, run_server, serve_connections
from ..net.tls import TlsByteStream, speaks_no_tls
from ..protocol.logs import peer_logger
from ..tokens import Claims
from .admission import Admission
from .join_request import JoinParameters, join_parameters
from .room_server import RoomServer
from .session import serve_member

logger = peer_logger(__name__)

#: Seconds that connections get to end when the server shuts down.
_GRACEFUL_TIMEOUT: Final = 5.0


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
        server: The room server; other listeners may serve it as well.
        url: The URL to listen on: `tcp://host:port` or `tls://host:port`, where port 0 is any free
            port, or `unix:///path`. A socket in the file system is for its owner alone, and is
            removed at the end.
        certfile: For `tls://`: a certificate chain in PEM, with its `keyfile`.
        keyfile: The certificate's private key in PEM.
        task_status: Gets the URL that clients connect to, once they can.

    Raises:
        ValueError: the URL is not that of a stream link, or is `tls://` without a certificate.
        OSError: the address can't be listened on, or a file not be read (`ssl.SSLError`: or not be
            used).
    """
    address = StreamAddress.parse(url)
    ssl_context = _ssl_context(certfile, keyfile) if address.scheme == "tls" else None
    listener, bound = _listen(address)
    stream_server = _StreamServer(
        server.admission, concurrency.current(), bound.scheme, ssl_context
    )

    def on_stop() -> None:
        if bound.scheme == "unix":
            Path(bound.path).unlink(missing_ok=True)
        stream_server.stop()

    async def serve_until(stop: Event) -> None:
        await serve_connections(
            listener,
            stream_server.serve_connection,
            stop,
            on_stop=on_stop,
            graceful_timeout=_GRACEFUL_TIMEOUT,
        )

    await run_server(serve_until, server.shut_down, str(bound), task_status)


# Handshakes


@define(eq=False)
class _StreamServer:
    """A server of connections, from their handshake on."""

    _admission: Admission
    _backend: Backend
    _scheme: str
    _ssl_context: ssl.SSLContext | None
    _handshakes: PendingHandshakes = field(init=False)

    def __attrs_post_init__(self) -> None:
        limits = self._admission.limits
        self._handshakes = PendingHandshakes(
            limits.max_joins_in_flight, limits.max_handshakes_per_address, self._backend
        )

    async def serve_connection(self, accepted: socket.socket, stream: ByteStream) -> None:
        """Serve a connection to its end."""
        joining = await self._shake_hands(stream, address_of(accepted))
        if joining is not None:
            records, claims, parameters = joining
            limit = self._admission.limits.max_queue_bytes
            async with open_framed_link(records, max_queue_bytes=limit) as link:
                await serve_member(self._admission, link, claims, parameters)

    def stop(self) -> None:
        """Reject all pending handshakes."""
        self._handshakes.reject_all("the server shuts down")

    async def _shake_hands(
        self, stream: ByteStream, address: str | None
    ) -> tuple[RecordStream, Claims, JoinParameters] | None:
        records = RecordStream(stream, MAX_HELLO_BYTES)
        timeout = self._admission.limits.handshake_timeout
        try:
            with self._handshakes.open(address, timeout) as handshake:
                if self._ssl_context is not None:
                    tls = TlsByteStream(stream, self._ssl_context)
                    await _agree_on_tls(tls)
                    records = RecordStream(tls, MAX_HELLO_BYTES)
                claims, parameters = await self._receive_hello(records)
                # From here on, the limits of a participant apply.
                records.accept(self._admission.limits.max_message_bytes)
                await records.send(_answer(200, ""))
                return records, claims, parameters
            if handshake.rejection:
                raise RefusedError(503, handshake.rejection)
            raise RefusedError(408, f"no HELLO was received within {timeout:g} s")
        except RefusedError as error:
            logger.info("refused a connection: %d %s", error.status, error.reason)
            with suppress(LinkClosedError), self._handshakes.closing(address, CLOSE_TIMEOUT):
                await records.send(_answer(error.status, error.reason))
                await records.finish()
        return None

    async def _receive_hello(self, records: RecordStream) -> tuple[Claims, JoinParameters]:
        try:
            kind, body = await records.receive_record()
            await self._handshakes.take_login_turn()
            if kind is not RecordKind.HELLO:
                raise RefusedError(400, f"it began with {kind.name} in place of HELLO")
            token, _, request = body.partition(b"\n")
            claims = self._admission.authenticate(token.decode(errors="replace"))
            parameters = join_parameters(rtc.JoinRequest.FromString(request))
            claims = self._admission.describe(claims, parameters)
            with self._admission.joining():
                self._admission.check_space(claims)
        except ProtocolMismatchError as error:
            text = f"this port takes stream links ({self._scheme}://), not {error.spoken}"
            raise RefusedError(400, text) from None
        except LinkClosedError as error:
            raise RefusedError(400, str(error)) from None
        except DecodeError:
            raise RefusedError(400, "its HELLO holds no JoinRequest") from None
        return claims, parameters


async def _agree_on_tls(tls: TlsByteStream) -> None:
    try:
        await tls.shake_hands()
    except ssl.SSLError as error:
        if speaks_no_tls(error):
            raise RefusedError(400, "this port takes TLS alone (tls://)") from None
        raise


def _answer(status: int, text: str) -> bytes:
    return PREAMBLE + encode_record(RecordKind.ANSWER, f"{status} {text}".encode())


# Listening


def _ssl_context(
    certfile: str | os.PathLike[str] | None, keyfile: str | os.PathLike[str] | None
) -> ssl.SSLContext:
    if certfile is None:
        raise ValueError("tls:// wants a certificate: certfile and keyfile")
    return load_certificate(certfile, keyfile)


def _listen(address: StreamAddress) -> tuple[socket.socket, StreamAddress]:
    """Return a listening socket, and the address that clients connect to."""
    if address.scheme == "unix":
        _remove_stale_socket(Path(address.path))
        return listen_unix(address.path), address
    listener = listen_tcp(address.host, address.port)
    host, port = listener.getsockname()[:2]
    return listener, StreamAddress(address.scheme, host, port)


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket that a crashed server has left behind."""
    if not path.is_socket():
        return  # `bind` refuses anything else that may be there
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
            path.unlink(missing_ok=True)
