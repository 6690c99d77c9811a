"""A client's link over a plain socket: TCP, TLS or a socket in the file system.

A stream link takes fewer steps and bytes than a WebSocket, and does not pass web proxies.
`records` describes its format; the messages, the tokens and the signalling are those of the
WebSocket.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from attrs import frozen
from livekit.protocol import rtc

from .. import concurrency
from ..concurrency import Nursery
from ..errors import ConnectError
from ..net.byte_streams import ByteStream, connect_tcp, connect_unix
from ..net.tls import TlsByteStream, speaks_no_tls
from .base import Link, LinkClosedError
from .connecting import MAX_MESSAGE_BYTES, check_token, failure, refusal
from .framed import open_framed_link
from .record_stream import RecordStream
from .records import PREAMBLE, ProtocolMismatchError, RecordKind, encode_record

SCHEMES: Final = ("tcp", "tls", "unix")

_ANSWER: Final = re.compile(rb"(\d{3}) (.*)", re.DOTALL)
_ACCEPTED: Final = 200
#: The advice where the server speaks another protocol.
_HINTS: Final = {
    "HTTP": "ws:// may be right for it",
    "TLS": "tls:// may be right for it",
}


@frozen
class StreamAddress:
    """The address of a stream link, as in its URL.

    Attributes:
        scheme: `tcp`, `tls` or `unix`.
        host: For the first two.
        port: For the first two; 0 for a server that takes a free one.
        path: For `unix`: the path of the socket.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, url: str) -> StreamAddress:
        """Parse a URL.

        Raises:
            ValueError: it is not the URL of a stream link.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError(_wanted(url)) from None
        if parts.query or parts.fragment:
            raise ValueError(_wanted(url))
        if parts.scheme == "unix":
            path = unquote(parts.path)
            if parts.netloc or not path.startswith("/") or "\0" in path:
                raise ValueError(_wanted(url))
            return cls("unix", path=path)
        if parts.scheme not in SCHEMES or not host or port is None or parts.path not in ("", "/"):
            raise ValueError(_wanted(url))
        return cls(parts.scheme, host, port)

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{quote(self.path)}"
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def _wanted(url: str) -> str:
    return (
        f"{url!r} is not the URL of a stream link: it wants tcp:// or tls://, a host and a port, "
        "or unix:// and the absolute path of a socket"
    )


@frozen
class StreamConnector:
    """The connector for the URL of a stream link.

    Args:
        url: `tcp://host:port`, `tls://host:port` or `unix:///path`.
        ssl_context: The certificates to trust, for `tls://`; by default, the system's.
    """

    url: str
    ssl_context: ssl.SSLContext | None = None

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncGenerator[Link]:
        try:
            address = StreamAddress.parse(self.url)
            if address.scheme != "unix" and address.port == 0:
                raise ValueError(_wanted(self.url))
        except ValueError as error:
            raise ConnectError(str(error)) from None
        check_token(token)
        async with concurrency.open_service_nursery() as nursery:
            try:
                stream = await _CONNECT[address.scheme](address, nursery, self.ssl_context)
            except (OSError, UnicodeError) as error:
                raise failure(str(address), _explained(error)) from error
            try:
                records = RecordStream(stream, MAX_MESSAGE_BYTES)
                await _join(str(address), records, token, request)
                async with open_framed_link(records) as link:
                    yield link
            finally:
                stream.abort()


async def _join(url: str, records: RecordStream, token: str, request: rtc.JoinRequest) -> None:
    try:
        hello = encode_record(
            RecordKind.HELLO, token.encode() + b"\n" + request.SerializeToString()
        )
        await records.send(PREAMBLE + hello)
        kind, body = await records.receive_record()
    except ProtocolMismatchError as error:
        hint = f": {_HINTS[error.spoken]}" if error.spoken in _HINTS else ""
        raise ConnectError(
            f"the server at {url} speaks {error.spoken}, not the protocol of stream links{hint}"
        ) from None
    except LinkClosedError as error:
        raise failure(url, error) from None
    answer = _ANSWER.fullmatch(body)
    if kind is not RecordKind.ANSWER or answer is None:
        raise ConnectError(f"the server at {url} did not answer as the protocol wants it")
    if int(answer[1]) != _ACCEPTED:
        raise refusal(url, int(answer[1]), answer[2])


# Connecting


async def _connect_tcp(
    address: StreamAddress, nursery: Nursery, _: ssl.SSLContext | None
) -> ByteStream:
    return await connect_tcp(address.host, address.port, nursery)


async def _connect_tls(
    address: StreamAddress, nursery: Nursery, context: ssl.SSLContext | None
) -> ByteStream:
    stream = await connect_tcp(address.host, address.port, nursery)
    try:
        tls = TlsByteStream(stream, context or ssl.create_default_context(), address.host)
        await tls.shake_hands()
    except BaseException:
        stream.abort()
        raise
    return tls


async def _connect_unix(
    address: StreamAddress, nursery: Nursery, _: ssl.SSLContext | None
) -> ByteStream:
    return await connect_unix(address.path, nursery)


_CONNECT: Final[
    dict[str, Callable[[StreamAddress, Nursery, ssl.SSLContext | None], Awaitable[ByteStream]]]
] = {"tcp": _connect_tcp, "tls": _connect_tls, "unix": _connect_unix}


def _explained(error: Exception) -> Exception:
    """Return the same error, with advice where there is some."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionError(
            f"its certificate is refused: {error.verify_message} (ssl_context says which "
            "certificates to trust)"
        )
    if speaks_no_tls(error):
        return ConnectionError("it does not speak TLS: tcp:// may be right for it")
    return error
