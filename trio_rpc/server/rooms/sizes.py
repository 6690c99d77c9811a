"""Checks of the sizes of what describes participants and rooms."""

from __future__ import annotations

from collections.abc import Mapping

from ...protocol.limits import utf8_length
from ..limits import ServerLimits


def check_size(what: str, size: int, limit: int, unit: str = "UTF-8 bytes") -> None:
    """Check a size against its limit.

    Raises:
        ValueError: it is over the limit.
    """
    if size > limit:
        raise ValueError(f"{what} of {size:,} {unit}, over the limit of {limit:,}")


def check_description(metadata: str, attributes: Mapping[str, str], limits: ServerLimits) -> int:
    """Check metadata and attributes of a participant against the limits.

    Returns:
        The size of the attributes, in bytes.

    Raises:
        ValueError: they are over the limit.
    """
    attributes_size = sum(utf8_length(key) + utf8_length(attributes[key]) for key in attributes)
    check_size("metadata", utf8_length(metadata), limits.max_metadata_bytes)
    check_size("all attributes together", attributes_size, limits.max_metadata_bytes)
    return attributes_size
