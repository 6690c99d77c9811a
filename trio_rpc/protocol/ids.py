"""Ids of calls and of streams."""

from __future__ import annotations

import os


def make_uuid() -> str:
    """Return a random UUID (version 4, rule P3) as text, at less than half the cost of `uuid4`."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
