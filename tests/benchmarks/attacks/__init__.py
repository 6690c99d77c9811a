"""Attacks on a server and its participants, by name.

Each does one thing that a hostile peer was found to gain by, as fast as it can, until cancelled.
"""

from __future__ import annotations

from typing import Final

from .base import Attack, Attacker
from .connections import ATTACKS as _ON_CONNECTIONS
from .messages import ATTACKS as _BY_MESSAGES
from .requests import ATTACKS as _BY_REQUESTS
from .responses import ATTACKS as _BY_RESPONSES
from .streams import ATTACKS as _BY_STREAMS

ATTACKS: Final[dict[str, Attack]] = {
    **_BY_REQUESTS,
    **_BY_RESPONSES,
    **_BY_STREAMS,
    **_BY_MESSAGES,
    **_ON_CONNECTIONS,
}

__all__ = ["ATTACKS", "Attack", "Attacker"]
