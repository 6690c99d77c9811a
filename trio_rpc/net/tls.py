"""TLS over a stream of bytes.

The `ssl` module encrypts and decrypts in memory, and the stream below does the rest, so that this
is the same on trio and on asyncio.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

from .. import concurrency
from .byte_streams import READ_BYTES, ByteStream

#: The bytes given to OpenSSL at once.
_SLICE_BYTES: Final = 8 * 1024
#: The bytes besides content that may be decrypted without a turn for other tasks: more than one
#: incomplete record. An attacker could send the smallest of records, or hundreds of key updates.
_MAX_OVERHEAD_BYTES: Final = 20 * 1024
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


def speaks_no_tls(error: BaseException) -> bool:
    """Whether a handshake failed because the other side does not speak TLS."""
    return isinstance(error, ssl.SSLError) and error.reason in _NO_TLS


class TlsByteStream:
    """A `ByteStream` that encrypts, after `shake_hands`.

    Args:
        stream: The carrier of the encrypted bytes.
        context: Our certificates, and the trusted ones.
        server_hostname: For a client: the name that the certificate must have. None for a server.
    """

    def __init__(
        self, stream: ByteStream, context: ssl.SSLContext, server_hostname: str | None = None
    ) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
        )
        # Bytes that were read and not yet given to OpenSSL
        self._encrypted = memoryview(b"")
        self._turn_is_due = False
        self._ended = False

    @property
    def unsent_bytes(self) -> int:
        return self._stream.unsent_bytes

    async def shake_hands(self) -> None:
        """Agree on keys, and check certificates.

        Raises:
            ssl.SSLError: there is no agreement.
            OSError: the connection is lost.
        """
        while True:
            try:
                self._tls.do_handshake()
                return await self._send_outgoing()
            except ssl.SSLWantReadError:
                await self._send_outgoing()
                if not self._encrypted and not await self._receive_encrypted():
                    raise ConnectionError(
                        "it ended the connection during the TLS handshake"
                    ) from None
                self._feed()
            except ssl.SSLError:
                # An alert, which gives the other side the reason.
                await self._send_outgoing()
                raise

    async def _send_outgoing(self) -> None:
        if self._outgoing.pending and not self._stream.write(self._outgoing.read()):
            await self._stream.drain()

    async def receive(self) -> bytes:
        while True:
            if self._turn_is_due:
                self._turn_is_due = False
                await concurrency.current().checkpoint()
            data = self._decrypt()
            if data or self._ended:
                return data
            if not self._encrypted and not await self._receive_encrypted():
                return b""

    async def _receive_encrypted(self) -> bool:
        """Read encrypted bytes; return whether there were any."""
        self._encrypted = memoryview(await self._stream.receive())
        return bool(self._encrypted)

    def _feed(self) -> int:
        """Give OpenSSL a slice of the bytes that were read; return its size."""
        taken = self._incoming.write(self._encrypted[:_SLICE_BYTES])
        self._encrypted = self._encrypted[taken:]
        return taken

    def _decrypt(self) -> bytes:
        """Decrypt the bytes that were read, unless that is much work for little content (B7)."""
        chunks: list[bytes] = []
        overhead = 0
        while not self._ended:
            overhead += self._feed() - self._read_content(chunks)
            if not self._encrypted:
                break
            if overhead > _MAX_OVERHEAD_BYTES:
                self._turn_is_due = True
                break
        return b"".join(chunks)

    def _read_content(self, chunks: list[bytes]) -> int:
        size = 0
        try:
            while chunk := self._tls.read(READ_BYTES):
                chunks.append(chunk)
                size += len(chunk)
            self._ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            # Nothing after this can be decrypted.
            self._ended = True
        return size

    def write(self, data: bytes) -> bool:
        self._tls.write(data)
        return self._stream.write(self._outgoing.read())

    async def drain(self) -> None:
        await self._stream.drain()

    def write_eof(self) -> None:
        with suppress(ssl.SSLError):
            self._tls.unwrap()  # raises until the other side's end, which `receive` sees
        with suppress(OSError):
            self._stream.write(self._outgoing.read())
        self._stream.write_eof()

    def abort(self) -> None:
        self._stream.abort()
