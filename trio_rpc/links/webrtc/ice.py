"""The servers and addresses for ICE: those that a server names, as far as we use them. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen
from livekit.protocol import rtc

#: A server of ICE as aiortc takes it.
_URL: Final = re.compile(
    r"(?P<scheme>stun|turns?):[^?:@/]{1,255}(?::\d{1,5})?(?:\?transport=(?P<transport>udp|tcp))?"
)
#: Which way through a firewall is tried: aiortc takes one TURN server alone.
_TURN_OVER_TLS: Final = ("turns", "tcp")
_TURN_PREFERENCE: Final = (("turn", "udp"), _TURN_OVER_TLS, ("turn", "tcp"))
_MAX_CANDIDATE_CHARACTERS: Final = 4_096


@frozen
class IceServer:
    """A STUN or TURN server.

    Attributes:
        url: Its URL.
        username, credential: Those of a TURN server.
    """

    url: str
    username: str = ""
    credential: str = ""


def choose_ice_servers(
    offered: Iterable[rtc.ICEServer], *, uses_stun: bool, over_tls: bool = False
) -> list[IceServer]:
    """Return the servers to use, of those that a `JoinResponse` offers: at most one of a kind.

    Args:
        offered: The servers. Invalid URLs are ignored.
        over_tls: Whether a TURN server over TLS is preferred, for networks without UDP.
        uses_stun: Whether to ask a STUN server for our public address. LiveKit's servers name
            public ones of others, which are not needed to reach a server with a public address.
    """
    # The first of each kind.
    servers = dict(reversed([*_kinds(offered)]))
    order = sorted(_TURN_PREFERENCE, key=lambda kind: over_tls and kind != _TURN_OVER_TLS)
    turn = [servers[kind] for kind in order if kind in servers][:1]
    stun = [servers[kind] for kind in servers if kind[0] == "stun"][:1] if uses_stun else []
    return stun + turn


def _kinds(offered: Iterable[rtc.ICEServer]) -> Iterator[tuple[tuple[str, str], IceServer]]:
    for server in offered:
        for url in server.urls:
            if match := _URL.fullmatch(url):
                scheme = match["scheme"]
                transport = match["transport"] or ("tcp" if scheme == "turns" else "udp")
                yield (scheme, transport), IceServer(url, server.username, server.credential)


def candidate_of(candidate_init: str) -> str | None:
    """Return the ICE candidate in the JSON of a `TrickleRequest`; None if we can't use it."""
    if len(candidate_init) > _MAX_CANDIDATE_CHARACTERS:
        return None
    try:
        content: Any = json.loads(candidate_init)
        text: Any = content["candidate"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return text if isinstance(text, str) and is_usable(text) else None


def is_usable(candidate: str) -> bool:
    """Whether a candidate is of UDP, the only transport of ours, and has an address, not a name."""
    words = candidate.removeprefix("candidate:").split()
    if len(words) < 8 or words[2].lower() != "udp":
        return False
    try:
        ip_address(words[4])
    except ValueError:
        return False
    return words[1].isdigit() and words[3].isdigit() and words[5].isdigit()


def own_addresses(url: str) -> tuple[str, ...]:
    """Return the addresses of ours that ICE leaves out, for a server at a URL: those of loopback.

    Without them, a server on the same machine could not be reached where it has no network.
    """
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return ("127.0.0.1",)
    try:
        address = ip_address(host)
    except ValueError:
        return ()
    return (str(address),) if address.is_loopback else ()
