"""Ids of calls and of streams."""

from __future__ import annotations

import os


def make_uuid() -> str:
    """The text of a random UUID (version 4, rule P3), for less than half of what `uuid4` costs."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
