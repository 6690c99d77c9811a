"""Round trips of generated types and values, and wrong JSON for generated types."""

from __future__ import annotations

import dataclasses
import json
import types
from typing import Any, TypedDict, Union

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_rpc import InvalidValueError, JsonCodec, Room, RpcError, RpcInvocationData
from trio_rpc.typed.errors import ErrorRegistry
from trio_rpc.typed.receiving import Receiving
from trio_rpc.typed.serving import TypedMethod, typed_method

CODEC = JsonCodec()

#: Types, each with its values.
Typed = tuple[Any, st.SearchStrategy[Any]]

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_PLAIN: list[Typed] = [
    (int, st.integers(-(2**62), 2**62)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (str, _TEXT),
    (bytes, st.binary(max_size=8)),
    (type(None), st.none()),
]
_NAMES = st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=1, max_size=4, unique=True)


def _with_keywords(names: list[str]) -> list[str]:
    """Make names that no keyword is."""
    return [f"{name}_" for name in names]


def _list(inner: Typed) -> Typed:
    return types.GenericAlias(list, (inner[0],)), st.lists(inner[1], max_size=3)


def _dict(inner: Typed) -> Typed:
    values = st.dictionaries(_TEXT, inner[1], max_size=3)
    return types.GenericAlias(dict, (str, inner[0])), values


def _optional(inner: Typed) -> Typed:
    return Union[inner[0], None], st.none() | inner[1]  # noqa: UP007


def _record(maker: str, names: list[str], members: list[Typed]) -> Typed:
    fields = dict(zip(_with_keywords(names), members, strict=False))
    values = st.fixed_dictionaries({name: strategy for name, (_, strategy) in fields.items()})
    annotations = {name: annotation for name, (annotation, _) in fields.items()}
    if maker == "TypedDict":
        return TypedDict("Record", annotations), values  # type: ignore[operator]
    if maker == "dataclass":
        made: Any = dataclasses.make_dataclass("Record", annotations.items())
    else:
        made = attrs.make_class(
            "Record",
            {name: attrs.field(type=each) for name, each in annotations.items()},
            frozen=True,
        )
    return made, values.map(lambda arguments: made(**arguments))


def _records(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    return st.builds(
        _record,
        st.sampled_from(["TypedDict", "dataclass", "attrs"]),
        _NAMES,
        st.lists(inner, min_size=4, max_size=4),
    )


TYPES = st.recursive(
    st.sampled_from(_PLAIN),
    lambda inner: inner.map(_list) | inner.map(_dict) | inner.map(_optional) | _records(inner),
    max_leaves=6,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.rule("T1")
@given(TYPES, st.data())
def test_what_goes_in_comes_out(typed: Typed, data: st.DataObject) -> None:
    annotation, strategy = typed
    value = data.draw(strategy)
    text = CODEC.dumps(value)
    json.loads(text)
    assert CODEC.loads(annotation, text) == value
    CODEC.schema(annotation)


@pytest.mark.rule("T2")
@given(TYPES, JSON.map(json.dumps) | st.text())
def test_wrong_json_is_an_error_with_a_path(typed: Typed, text: str) -> None:
    annotation, _ = typed
    error: InvalidValueError | None = None
    try:
        CODEC.dumps(CODEC.loads(annotation, text))
    except InvalidValueError as raised:
        error = raised
    if error is not None:
        assert error.path.startswith("$") or " in $" in error.path, error.path
        assert error.expected


def method_with(annotation: Any) -> TypedMethod:
    async def method(value: Any) -> Any:
        return value

    method.__annotations__ = {"value": annotation, "return": annotation}

    def open_stream(*_: object) -> Any:
        raise AssertionError

    return typed_method(
        method,
        "method",
        description=None,
        hidden=False,
        codec=CODEC,
        errors=ErrorRegistry(CODEC),
        open_stream=open_stream,
        receiving=Receiving(Room()),
        max_bytes=1,
    )


def run(coroutine: Any) -> str:
    """Return the result of a coroutine that waits for nothing."""
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    result: str = stopped.value.value
    return result


@pytest.mark.rule("T2")
@given(TYPES, JSON, st.text() | JSON.map(json.dumps), st.booleans())
def test_wrong_arguments_are_never_1500(
    typed: Typed, value: Any, payload: str, is_object: bool
) -> None:
    method = method_with(typed[0])
    payload = json.dumps({"value": value}) if is_object else payload
    error: RpcError | None = None
    try:
        json.loads(run(method(RpcInvocationData("1", "alice", payload, 10))))
    except RpcError as raised:
        error = raised
    if error is not None:
        assert error.code == 7422
        assert json.loads(error.data or "")["path"]


class _PickyError(Exception):
    pass


def _fail(value: int) -> int:
    raise _PickyError("secret")


def _refuse(instance: Any, attribute: Any, value: int) -> None:
    if value < 0:
        raise ValueError("it is negative")


@attrs.define
class Converted:
    value: int = attrs.field(converter=_fail)


@attrs.define
class Validated:
    value: int = attrs.field(validator=_refuse)


@attrs.define
class Initialised:
    value: int

    def __attrs_post_init__(self) -> None:
        if self.value < 0:
            raise _PickyError("secret")


@pytest.mark.rule("T2")
def test_a_class_may_refuse_a_value() -> None:
    with pytest.raises(InvalidValueError) as caught:
        CODEC.loads(list[Initialised], '[{"value": 1}, {"value": -1}]')
    assert "secret" not in str(caught.value)
    assert CODEC.loads(Initialised, '{"value": 1}') == Initialised(1)


@pytest.mark.parametrize("value", [object(), {1: object()}, slice(1), "\ud800"])
def test_a_value_without_json_is_an_error(value: Any) -> None:
    with pytest.raises((TypeError, UnicodeError)):
        CODEC.dumps(value)
