"""The pairs of callers and callees."""

from __future__ import annotations

from typing import Final

from .programs import KINDS

_OLD: Final = "old python"
_CURRENT: Final = [kind for kind in KINDS if kind != _OLD]
_MET_BY_OLD: Final = ("trio", "python", "browser")

#: Kinds of caller and callee.
PAIRS: Final = [
    *((caller, callee) for caller in _CURRENT for callee in _CURRENT),
    *((_OLD, callee) for callee in _MET_BY_OLD),
    *((caller, _OLD) for caller in _MET_BY_OLD),
]
