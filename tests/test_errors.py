"""The tree of public exceptions: complete, under one root, and drawn as it is."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

import trio_rpc
from trio_rpc import (
    InvalidArguments,
    InvalidResponse,
    InvalidValueError,
    RefusedError,
    RoomError,
    RpcError,
    errors,
)

REFERENCE = Path(__file__).parents[1] / "docs" / "reference" / "errors.md"
TYPED_REFERENCE = REFERENCE.with_name("typed.md")
BRANCH = re.compile(r"^ *([│├└─ ]*)(\w+Error|Invalid\w+)\b", re.MULTILINE)
#: The exceptions of typed calls, which have modules of their own.
TYPED: set[type[BaseException]] = {InvalidArguments, InvalidResponse, InvalidValueError}


def exceptions_in(names: dict[str, object]) -> set[type[BaseException]]:
    return {
        each for each in names.values() if isinstance(each, type) and issubclass(each, Exception)
    }


def drawn_tree(text: str) -> list[tuple[str, str]]:
    """Return the edges of a drawn tree: each exception, after its parent."""
    path: list[str] = []
    edges: list[tuple[str, str]] = []
    for indent, name in BRANCH.findall(text):
        depth = len(indent) // 4
        path[depth:] = [name]
        if depth:
            edges.append((path[depth - 1], name))
    return edges


def actual_tree() -> set[tuple[str, str]]:
    public = exceptions_in(vars(errors)) - {RoomError} | TYPED
    bases = {each: [base for base in each.__bases__ if base is not ValueError] for each in public}
    # Both errors of arguments and responses have a private class between them and RpcError.
    names = {"_MisfitError": "RpcError"}
    return {
        (names.get(base.__name__, base.__name__), each.__name__)
        for each in public
        for base in bases[each]
    }


def test_all_public_exceptions_are_exported_and_room_errors() -> None:
    exported = exceptions_in({name: getattr(trio_rpc, name) for name in trio_rpc.__all__})
    assert exported == exceptions_in(vars(errors)) | TYPED
    assert all(issubclass(each, RoomError) for each in exported)


def test_the_tree_in_the_docstring_is_the_actual_one() -> None:
    assert errors.__doc__ is not None
    tree, _, _ = errors.__doc__.partition("`RpcError` travels")
    assert sorted(drawn_tree(tree)) == sorted(actual_tree())


def test_the_tree_in_the_reference_is_the_actual_one() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    _, tree, _ = re.split(r"```(?:text)?\n", text, maxsplit=2)
    assert sorted(drawn_tree(tree)) == sorted(actual_tree())
    text += TYPED_REFERENCE.read_text(encoding="utf-8")
    assert all(f"::: trio_rpc.{name}\n" in f"{text}\n" for _, name in actual_tree())


@pytest.mark.parametrize("error", [RefusedError(503, "the server shuts down"), RpcError(1, "no")])
def test_a_copy_says_the_same(error: RoomError) -> None:
    other = copy.copy(error)
    assert type(other) is type(error)
    assert (str(other), vars(other)) == (str(error), vars(error))
