"""Comparing two modules: names, members of classes, and parameters of functions."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from types import ModuleType
from typing import Any


def missing_in(ours: ModuleType, theirs: ModuleType, allowed: Collection[str]) -> Iterator[str]:
    """Yield what `theirs` has and `ours` lacks, except what is allowed.

    Args:
        ours: The module that has to have everything.
        theirs: The module whose `__all__` is compared.
        allowed: Names, such as `Track` or `Room.e2ee_manager`, or parameters, `Room.on(x)`.
    """
    for name in theirs.__all__:
        if name in allowed:
            continue
        if not hasattr(ours, name):
            yield name
        elif isinstance(getattr(theirs, name), type):
            yield from _missing_members(name, getattr(ours, name), getattr(theirs, name), allowed)


def _missing_members(name: str, ours: Any, theirs: type, allowed: Collection[str]) -> Iterator[str]:
    for member in dir(theirs):
        path = f"{name}.{member}"
        if (member.startswith("_") and member != "__init__") or path in allowed:
            continue
        if not hasattr(ours, member):
            yield path
        elif callable(getattr(theirs, member)) and not isinstance(getattr(theirs, member), type):
            known = _parameters(getattr(ours, member))
            for parameter in _parameters(getattr(theirs, member)):
                what = f"{path}({parameter})"
                if parameter not in known and what not in allowed:
                    yield what


def _parameters(function: Any) -> list[str]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in signature.parameters.values() if each.kind not in variadic]
