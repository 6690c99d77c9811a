"""Tokens of all kinds, signed and not, and the reasons for refusing them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

import jwt
import pytest

from trio_rpc import InvalidTokenError
from trio_rpc.tokens import (
    AccessToken,
    VideoGrants,
    verify_token,
)

KEY = "devkey"
SECRET = "the-secret-of-devkey-0123456789abcdef"
OTHER_SECRET = "the-secret-of-another-key-0123456789ab"
API_KEYS = {KEY: SECRET, "otherkey": OTHER_SECRET}

#: What reading makes of grants that do not say more than that joining "lobby" is granted.
JOIN = VideoGrants(
    room_join=True,
    room="lobby",
    can_publish=True,
    can_subscribe=True,
    can_publish_data=True,
    can_update_own_metadata=False,
)


def payload(**changes: object) -> dict[str, Any]:
    """Return a valid payload with some claims changed; None removes a claim."""
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": KEY,
        "sub": "alice",
        "nbf": now,
        "exp": now + 86_400,
        "video": {"roomJoin": True, "room": "lobby"},
    }
    return {key: value for key, value in (claims | changes).items() if value is not None}


def signed(claims: Mapping[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(dict(claims), secret, algorithm=algorithm)


def segment(content: object) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def refusal(token: str, api_keys: Mapping[str, str] = API_KEYS) -> str:
    """Return the reason for refusing `token`, checked to contain no secret."""
    with pytest.raises(InvalidTokenError) as caught:
        verify_token(token, api_keys)
    reason = str(caught.value)
    assert "\n" not in reason
    for secret in (token, token.rpartition(".")[2], *api_keys.values()):
        assert not secret or secret not in reason
    return reason


def builder() -> AccessToken:
    return AccessToken(KEY, SECRET)


FLAGS = (
    *("roomCreate", "roomList", "roomRecord", "roomAdmin", "roomJoin", "hidden", "agent"),
    *("canPublish", "canSubscribe", "canPublishData", "canUpdateOwnMetadata"),
)
NOT_FLAGS: tuple[object, ...] = (0, 1, "true", [], {})
NOT_TEXT: tuple[object, ...] = (0, True, ["lobby"], {}, "\ud800")
NOT_TEXTS: tuple[object, ...] = ("camera", 1, {}, [1], [None], ["\udfff"])
WRONG_GRANTS = [
    *((key, value) for key in FLAGS for value in NOT_FLAGS),
    *(("room", value) for value in NOT_TEXT),
    *(("canPublishSources", value) for value in NOT_TEXTS),
]


#: What `int` takes for a moment long after now, and JSON does not; and what neither does.
NO_TIMES: list[object] = [
    "32503680000",
    " 32503680000\n",
    "32_503_680_000",
    "\u0663\u0662\u0665\u0660\u0663\u0666\u0668\u0660\u0660\u0660\u0660",
    "soon",
    "",
    [],
    {},
    True,
    False,
    float("inf"),
    float("-inf"),
    float("nan"),
]


HEADER = segment({"alg": "HS256", "typ": "JWT"})
