"""Restarting ICE when a client asks for it, as it does to resume (RFC 8839, section 4.4.1.1.1).

aioice has no restart. The client connects to us, from addresses that are seen then, so the sockets
stay as they are: other credentials are all that it takes. Data goes to the last address until the
client has nominated another.

The parts of aioice that are used here are private; the extra `livekit` bounds its version.
"""

from __future__ import annotations

import re
from typing import Final

import aioice
from aioice.utils import random_string

_CREDENTIAL: Final = re.compile(r"^a=ice-(ufrag|pwd):(\S+)\r?$", re.MULTILINE)
_USERNAME_LENGTH: Final = 4
_PASSWORD_LENGTH: Final = 22


def restart_if_asked(ice: aioice.Connection, offer: str) -> None:
    """Restart ICE if an offer has other credentials than the one before it.

    Args:
        ice: The connection; one without an earlier offer is left as it is.
        offer: The client's offer, which was checked.
    """
    found = dict(_CREDENTIAL.findall(offer))
    username, password = found.get("ufrag"), found.get("pwd")
    if ice.remote_username in (None, username) or username is None or password is None:
        return
    ice.remote_username, ice.remote_password = username, password
    ice._local_username = random_string(_USERNAME_LENGTH)
    ice._local_password = random_string(_PASSWORD_LENGTH)
    for pair in ice._check_list:
        if pair.task is not None:
            pair.task.cancel()
    ice._check_list.clear()
    ice._remote_candidates.clear()
