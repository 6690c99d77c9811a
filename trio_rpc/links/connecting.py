"""The common part of connectors for URLs: the check of a token, and the errors."""

from __future__ import annotations

import re
from typing import Final

from ..errors import ConnectError

#: The largest message that a client accepts: the roster of a large room comes in one.
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_MAX_REASON: Final = 500
_HIDDEN: Final = "<the access token>"
#: The shortest part of a token that is hidden at the end of a text that breaks off.
_MIN_TOKEN_PART: Final = 8
_TOKEN: Final = re.compile(r"[!-~]+")


def check_token(token: str) -> None:
    """Refuse a token that can't be sent.

    Raises:
        ConnectError: it is empty, or has characters that are in no token.
    """
    if not _TOKEN.fullmatch(token):
        raise ConnectError("the access token is empty, or has characters that no token has")


def refusal(url: str, status: int, body: bytes | bytearray | None, token: str = "") -> ConnectError:
    """Return the error for a server that rejected us with an HTTP status.

    Args:
        url: The URL, of which the error shows no parameters.
        status: The status.
        body: The server's reason.
        token: The access token, which some servers repeat, and no error shows.
    """
    text = without_token((body or b"").decode(errors="replace"), token)
    reason = text.strip()[:_MAX_REASON] or "no reason given"
    return ConnectError(f"{without_query(url)} refused with {status}: {reason}", status=status)


def failure(url: str, error: BaseException) -> ConnectError:
    """Return the error for a server that could not be reached."""
    cause = error.__cause__ or error
    reason = str(cause) or type(cause).__name__
    return ConnectError(f"no room server answered at {without_query(url)}: {reason}")


def without_token(text: str, token: str) -> str:
    """Return a text of a server without the access token, also if it breaks off within that."""
    if not token:
        return text
    text = text.replace(token, _HIDDEN)
    for size in range(min(len(token) - 1, len(text)), _MIN_TOKEN_PART - 1, -1):
        if text.endswith(token[:size]):
            return text[:-size] + _HIDDEN
    return text


def without_query(url: str) -> str:
    """Return a URL as errors show it."""
    return url.partition("?")[0]
