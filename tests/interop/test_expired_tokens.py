"""Participants whose tokens have expired since they joined, and who lose their connection."""

from __future__ import annotations

import datetime
import time
import urllib.request
from typing import Final
from urllib.error import HTTPError

import pytest

from trio_rpc import AccessToken, VideoGrants

from ..support.tokens import API_KEY, API_SECRET
from .conftest import Cast, Programs
from .program import PATIENCE, Failure, Peer
from .server import Server

#: Those whose SDK can simulate it.
_KINDS: Final = ("trio", "asyncio", "python", "browser")
#: Time enough for all of them to join.
_LIFETIME: Final = datetime.timedelta(seconds=10)
_PAUSE: Final = 0.2


@pytest.mark.rule("L11")
def test_all_come_back_with_the_tokens_that_the_server_has_sent(
    cast: Cast, programs: Programs, trio_server: Server
) -> None:
    watcher = cast.peer("trio", "watches")
    peers = [Peer(programs.get(kind), f"{kind} with a short token") for kind in _KINDS]
    for peer in peers:
        peer.join(trio_server.url, _short_token(cast.room, peer.identity))
        watcher.wait_for("sees", who=peer.identity)
        peer.set_metadata("changed")
        watcher.wait_for("metadata", who=peer.identity, value="changed")
    # Those of all the others have expired before.
    _wait_until_expired(trio_server, _short_token(cast.room, "nobody"))
    for peer in peers:
        peer.reconnect_fully()
        watcher.wait_for("lost", who=peer.identity)
        watcher.wait_for("sees", who=peer.identity)
        assert watcher.participants()[peer.identity]["metadata"] == "changed"
        assert _call(watcher, peer) == "here again"
        peer.leave()
        watcher.wait_for("lost", who=peer.identity)


def _short_token(room: str, identity: str) -> str:
    grants = VideoGrants(room_join=True, room=room, can_update_own_metadata=True)
    token = AccessToken(API_KEY, API_SECRET).with_identity(identity).with_grants(grants)
    return token.with_ttl(_LIFETIME).to_jwt()


def _wait_until_expired(server: Server, token: str) -> None:
    deadline = time.monotonic() + _LIFETIME.total_seconds() + PATIENCE
    while _is_accepted(server, token):
        assert time.monotonic() < deadline, "the token does not expire"
        time.sleep(_PAUSE)


def _is_accepted(server: Server, token: str) -> bool:
    url = server.url.replace("ws", "http", 1) + "/rtc/validate"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        urllib.request.urlopen(request).close()
    except HTTPError as error:
        error.close()
        return error.code != 401
    return True


def _call(caller: Peer, callee: Peer) -> str | Failure:
    """Call a participant that may not be quite back."""
    deadline = time.monotonic() + PATIENCE
    while True:
        outcome = caller.call(callee.identity, "echo", "here again")
        if isinstance(outcome, str) or time.monotonic() > deadline:
            return outcome
        time.sleep(_PAUSE)
