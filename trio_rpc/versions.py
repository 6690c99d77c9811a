"""Which servers know RPC (rule N2)."""

from __future__ import annotations

import re
from typing import Final

_FIRST_WITH_RPC: Final = (1, 8, 0)
_VERSION: Final = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})")


def speaks_rpc(server_version: str) -> bool:
    """Whether a server of this version carries RPC; one that can't be parsed counts as new."""
    match = _VERSION.match(server_version)
    return match is None or tuple(map(int, match.groups())) >= _FIRST_WITH_RPC
