"""Accepting connections, on either backend."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Final

import anyio

logger = logging.getLogger(__name__)

#: Seconds after which accepting is tried again when it failed, for want of file descriptors say.
_ACCEPT_AGAIN: Final = 0.1


async def accept_connections(
    listener: socket.socket, start: Callable[[socket.socket], object]
) -> None:
    """Hand each connection to `start`, until cancelled.

    Args:
        listener: Listens, and does not block.
        start: Owns the connection from there on, and starts a task for it.
    """
    while True:
        await anyio.wait_readable(listener)
        try:
            # Nothing is awaited from here on, so that no connection gets lost on cancellation.
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        except OSError:
            logger.exception("no connection can be accepted for now")
            await anyio.sleep(_ACCEPT_AGAIN)
            continue
        start(connection)
