"""Session descriptions for tests: right ones, and what can be wrong with them."""

from __future__ import annotations

from typing import Final

SESSION: Final = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    "a=group:BUNDLE 0 1\r\na=msid-semantic: WMS\r\n"
)
CREDENTIALS: Final = (
    "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
    f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}\r\na=setup:actpass\r\n"
)
CANDIDATE: Final = "a=candidate:1 1 udp 2113937151 192.0.2.1 54321 typ host\r\n"


def data(mid: str = "0", extra: str = "", port: int = 9) -> str:
    """Return a media section for data channels."""
    return (
        f"m=application {port} UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n"
        f"{CREDENTIALS}a=mid:{mid}\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n{extra}"
    )


def media(kind: str, mid: str, direction: str = "sendonly", port: int = 9, extra: str = "") -> str:
    """Return a media section for audio or video."""
    return (
        f"m={kind} {port} UDP/TLS/RTP/SAVPF 111 96\r\nc=IN IP4 0.0.0.0\r\n{CREDENTIALS}"
        f"a=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\na=rtpmap:111 codec/48000\r\n"
        f"a=fmtp:111 x=1\r\na=rtpmap:96 other/90000\r\n{extra}"
    )


OFFER: Final = SESSION + data()
