"""TLS at a server, whose client sends its content in records of its own choice."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from trio_rpc.net.byte_streams import READ_BYTES
from trio_rpc.net.tls import TlsByteStream

from ..support.byte_streams import FullByteStream, bystander, largest_step
from ..support.serving import Certificate

pytestmark = pytest.mark.anyio


class TlsClient(FullByteStream):
    """The stream below a server's TLS, with a client at its other end that is always there."""

    def __init__(self, trusted: ssl.SSLContext) -> None:
        super().__init__(b"")
        self._received = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = trusted.wrap_bio(self._received, self._outgoing, server_hostname="127.0.0.1")
        self._do_handshake()

    def _do_handshake(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self._incoming += self._outgoing.read()

    def write(self, data: bytes) -> bool:
        self._received.write(data)
        self._do_handshake()
        return True

    def send(self, *records: bytes) -> None:
        """Have each come in a TLS record of its own."""
        for record in records:
            self._tls.write(record)
        self._incoming += self._outgoing.read()


async def shake_hands(directory: Path) -> tuple[TlsByteStream, TlsClient]:
    certificate = Certificate.make(directory)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.files["certfile"])
    client = TlsClient(certificate.trusted)
    stream = TlsByteStream(client, context)
    await stream.shake_hands()
    return stream, client


@pytest.mark.rule("B7")
async def test_others_have_their_turn_while_tiny_records_are_decrypted(tmp_path: Path) -> None:
    stream, client = await shake_hands(tmp_path)
    client.send(*[b"x"] * 40_000)
    received = b""
    async with bystander(lambda: len(received)) as seen:
        while len(received) < 40_000:
            received += await stream.receive()
    assert received == b"x" * 40_000
    # Of 22 bytes or more each, of which less than 28 KB are decrypted in a turn.
    assert largest_step([0, *seen, len(received)]) < 4 * 28 * 1024 / 22


async def test_what_was_read_of_large_records_is_decrypted_at_once(tmp_path: Path) -> None:
    stream, client = await shake_hands(tmp_path)
    client.send(*[b"x" * 16_384] * 15)
    assert len(await stream.receive()) == 15 * 16_384


async def test_content_arrives_whole_whatever_the_records(tmp_path: Path) -> None:
    stream, client = await shake_hands(tmp_path)
    sizes = [1, 16_384, 5, 300, 16_383, 1_000, 8_192, 2]
    content = [bytes([index % 251]) * size for index, size in enumerate(sizes * 30)]
    client.send(*content)
    expected = b"".join(content)
    assert len(expected) > READ_BYTES
    received = b""
    while data := await stream.receive():
        received += data
    assert received == expected
