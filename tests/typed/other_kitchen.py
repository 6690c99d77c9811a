"""Another class of the same name."""

from __future__ import annotations

import attrs


@attrs.frozen
class Order:
    fruit: str
