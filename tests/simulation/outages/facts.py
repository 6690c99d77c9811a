"""The facts that runs with outages are to reach, or they prove less than they seem to."""

from __future__ import annotations

from typing import Final

RESUMED: Final = "resumed"
RESUMED_IN_A_STREAM: Final = "resumed in the middle of a stream"
REJOINED: Final = "rejoined"
RESUME_REFUSED: Final = "a resume was refused"
REPEATED: Final = "a call was sent again"
KEPT: Final = "an outcome was kept for a call that was sent again"
WAITED: Final = "a call waited out an outage"
REPLACED_HALF_OPEN: Final = "a half-open link was replaced"

FACTS: Final = frozenset(
    {
        RESUMED,
        REJOINED,
        RESUMED_IN_A_STREAM,
        RESUME_REFUSED,
        WAITED,
        REPEATED,
        KEPT,
        REPLACED_HALF_OPEN,
    }
)
