"""Tokens that the tests' servers accept."""

from __future__ import annotations

from typing import Any, Final

from trio_rpc import AccessToken, VideoGrants

API_KEY: Final = "test-key"
API_SECRET: Final = "a secret of the tests, 32 bytes or more"
API_KEYS: Final = {API_KEY: API_SECRET}
ROOM: Final = "the room"


def make_token(identity: str, *, room: str = ROOM, **grants: Any) -> str:
    """Return a token that lets `identity` join `room`, with further `grants` of `VideoGrants`."""
    return (
        AccessToken(API_KEY, API_SECRET)
        .with_identity(identity)
        .with_grants(VideoGrants(room_join=True, room=room, **grants))
        .to_jwt()
    )
