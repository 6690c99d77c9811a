"""The facts that runs with adversaries are to reach, and the evidence for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from .answers import ANSWERS
from .moves import MOVES

#: By a part of an error's text, the bound that it reports.
_ERRORS: Final = {
    "max_peer_bytes": "B4: a request was refused: max_peer_bytes",
    "max_peer_streams": "B5: a request was refused: max_peer_streams",
    "max_waiting_requests": "B5: a request was refused: max_waiting_requests",
    "no participant": "V3: a request to nobody was answered",
    "cannot call itself": "V3: a request to itself was answered",
    "not UTF-8": "a request that is not UTF-8 was refused",
    "broke off": "S6: a request broke off",
    "gave up": "a handler was told that its caller gave up",
    "is full: it does not read": "B8: an answer was broken off, or not sent",
    "canPublishData": "C12: a request without the permission to send was refused",
}
#: By a part of the close reason of a member's link, the bound that it reports.
_ENDS: Final = {
    "malformed": "P8: a member was disconnected for malformed messages",
    "does not read": "V8: a member that does not read was disconnected",
    "another participant joined": "V5: a member was replaced",
}
#: By its reason, a refusal of the server's.
_REFUSALS: Final = {
    "NOT_ALLOWED": "a member without the permission was told so",
    "LIMIT_EXCEEDED": "V7: a change beyond the limits was refused",
}
_REACHED_BY_MOVES: Final = (
    "B1: a request whose id was running was ignored",
    "B1: a request whose id was answered was ignored",
    "B5: cancellations in the message of their requests counted",
    "B8: the sender was held back, and its receiver stayed",
    "C6: calls of others were answered while they were known",
    "P6: packets with a number that came before were ignored",
    "V9: a member that was silent was disconnected",
)

FACTS: Final = frozenset(
    {
        *(f"move: {name}" for name in MOVES),
        *(f"answer: {name}" for name in ANSWERS),
        *_ERRORS.values(),
        *_ENDS.values(),
        *_REFUSALS.values(),
        *_REACHED_BY_MOVES,
    }
)


def fact_of_error(_code: int, data: str) -> str | None:
    """Return the fact that an error shows, if it shows one."""
    return next((fact for words, fact in _ERRORS.items() if words in data), None)


def facts_of_end(closed_because: str, refusals: Counter[str]) -> Iterator[str]:
    """Return the facts that the end of a member's session shows."""
    for words, fact in _ENDS.items():
        if words in closed_because:
            yield fact
    for reason, fact in _REFUSALS.items():
        if refusals[reason]:
            yield fact
