"""What clients with a URL share: the check of a token, and errors that say what went wrong."""

from __future__ import annotations

import re
from typing import Final

from ..errors import ConnectError

#: The largest message that a client accepts: the roster of a large room comes in one.
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_TOKEN: Final = re.compile(r"[!-~]+")


def check_token(token: str) -> None:
    """Refuse what can't be sent as an access token.

    Raises:
        ConnectError: it is empty, or has characters that no token has.
    """
    if not _TOKEN.fullmatch(token):
        raise ConnectError("the access token is empty, or has characters that no token has")


def refusal(url: str, status: int, body: bytes | bytearray | None) -> ConnectError:
    """The server did not let us in, and said why with an HTTP status."""
    reason = (body or b"").decode(errors="replace").strip()[:500] or "no reason given"
    return ConnectError(f"{without_query(url)} refused with {status}: {reason}", status=status)


def failure(url: str, error: BaseException) -> ConnectError:
    """There was no talking to a server."""
    cause = error.__cause__ or error
    reason = str(cause) or type(cause).__name__
    return ConnectError(f"no room server answered at {without_query(url)}: {reason}")


def without_query(url: str) -> str:
    """A URL as errors show it."""
    return url.partition("?")[0]
