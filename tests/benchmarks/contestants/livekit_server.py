"""Calls through LiveKit's own server: of its Python SDK, and of trio_rpc."""

from __future__ import annotations

import json
import os
from urllib.parse import urlsplit

from ...support.livekit_server import LIVEKIT_SERVER_VARIABLE, configuration
from . import livekit, ours
from .base import Control, MissingError, free_port, wait_until_listening


def server(control: Control, *, backend: str) -> None:
    path = os.environ.get(LIVEKIT_SERVER_VARIABLE)
    if not path:
        raise MissingError(f"${LIVEKIT_SERVER_VARIABLE} names no livekit-server: see nox -s golang")
    port = free_port()
    body = json.dumps(configuration("127.0.0.1", port))
    control.become(f"ws://127.0.0.1:{port}", path, "--config-body", body)


def callee(control: Control, *, backend: str) -> None:
    port = urlsplit(control.address).port
    assert port is not None
    wait_until_listening(port)
    if backend:
        ours.callee(control, link="websocket", backend=backend)
    else:
        livekit.callee(control, caller_is="livekit")


def caller(control: Control, *, backend: str) -> None:
    if backend:
        ours.caller(control, link="websocket", backend=backend)
    else:
        livekit.caller(control, caller_is="livekit")
