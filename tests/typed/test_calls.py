"""Typed methods and clients, from call to result."""

from __future__ import annotations

import dataclasses
import json
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Protocol, TypedDict
from uuid import UUID

import attrs
import pydantic
import pytest

from trio_rpc import (
    CallContext,
    InvalidArguments,
    InvalidResponse,
    InvalidValueError,
    Outcome,
    Room,
    RpcError,
    RpcInvocationData,
)

from ..conftest import Join
from .conftest import Pair
from .kitchen import Kitchen, KitchenService, Order, OutOfStock

pytestmark = pytest.mark.anyio

CARROT = Order("carrot", 150)


async def call_text(room: Room, method: str, payload: str) -> str:
    return await room.local_participant.perform_rpc(
        destination_identity="bob", method=method, payload=payload
    )


# T1


@pytest.mark.rule("T1")
async def test_a_client_calls_the_methods_of_a_service(pair: Pair) -> None:
    kitchen = pair.kitchen
    assert await kitchen.slice(CARROT) == [50]
    assert await kitchen.slice(Order("carrot", 150, thickness_mm=5), times=2) == [30, 30]
    assert await kitchen.slice(times=2, order=CARROT) == [50, 50]
    assert await kitchen.caller() == "alice"
    await kitchen.rest()
    assert pair.service.events == ["rests"]
    assert repr(kitchen) == "<client Kitchen of 'bob'>"


@pytest.mark.rule("T1")
async def test_a_method_is_called_without_a_client(pair: Pair) -> None:
    assert await pair.alice.call(Kitchen.slice, "bob", CARROT) == [50]
    assert await pair.alice.call(Kitchen.slice, "bob", CARROT, times=2) == [50, 50]


@pytest.mark.rule("T1")
@pytest.mark.parametrize(
    ("method", "payload", "response"),
    [
        ("slice", '{"order": {"vegetable": "carrot", "length_mm": 9}}', "[3]"),
        ("slice", '{"times": 2, "order": {"vegetable": "x", "length_mm": 9}}', "[3,3]"),
        ("rest", "", "null"),
        ("rest", "{}", "null"),
        ("caller", " {} ", '"alice"'),
        ("watch", '{"pan": "1"}', "[0.0,0.5,1.0]"),
        ("watch", '{"pan": "1", "count": 0}', "[]"),
    ],
)
async def test_it_is_json_that_travels(
    pair: Pair, method: str, payload: str, response: str
) -> None:
    assert await call_text(pair.alice, method, payload) == response


@pytest.mark.rule("T1")
async def test_the_payload_is_an_object_of_arguments_by_name(pair: Pair) -> None:
    got: list[str] = []

    async def handler(data: RpcInvocationData) -> str:
        got.append(data.payload)
        return "[1]"

    pair.bob.register_rpc_method("pot.slice", handler)
    kitchen = pair.alice.client(Kitchen, "bob", prefix="pot.")
    await kitchen.slice(CARROT)
    await kitchen.slice(CARROT, times=2)
    order = {"vegetable": "carrot", "length_mm": 150, "thickness_mm": 3}
    assert [json.loads(each) for each in got] == [{"order": order}, {"order": order, "times": 2}]


async def test_methods_have_the_names_of_their_functions_or_others(join: Join) -> None:
    async with join("bob") as bob, join("alice") as alice:

        @bob.method
        async def one() -> int:
            return 1

        @bob.method("two.of.two")
        async def two() -> int:
            return 2

        @bob.method(hidden=True)
        async def three() -> int:
            return 3

        bob.serve(KitchenService(), prefix="kitchen.")
        assert [*bob.rpc_methods] == [
            "rpc.discover",
            "one",
            "two.of.two",
            "three",
            "kitchen.caller",
            "kitchen.rest",
            "kitchen.slice",
            "kitchen.watch",
        ]
        assert [await one(), await two(), await three()] == [1, 2, 3]
        assert await call_text(alice, "two.of.two", "") == "2"
        kitchen = alice.client(Kitchen, "bob", prefix="kitchen.")
        assert await kitchen.slice(CARROT) == [50]
        caller = alice.with_options(prefix="kitchen.")
        assert await caller.call(Kitchen.slice, "bob", CARROT) == [50]


@pytest.mark.real_time
async def test_a_plain_function_is_a_method_too(join: Join) -> None:
    async with join("bob") as bob, join("alice") as alice:

        @bob.method
        def double(number: int) -> int:
            if number < 0:
                raise OutOfStock("numbers")
            return 2 * number

        bob.errors.register(OutOfStock, code=9001)
        assert await call_text(alice, "double", '{"number": 4}') == "8"
        with pytest.raises(RpcError, match="9001 OutOfStock"):
            await call_text(alice, "double", '{"number": -4}')
        with pytest.raises(RpcError, match=r"\$\.number"):
            await call_text(alice, "double", '{"number": "4"}')


async def test_serving_is_all_or_nothing(join: Join) -> None:
    async with join("bob") as bob:
        bob.method("kitchen.slice")(KitchenService().slice)
        with pytest.raises(ValueError, match=r"method 'kitchen\.slice' is registered already"):
            bob.serve(KitchenService(), prefix="kitchen.")
        assert [*bob.rpc_methods] == ["rpc.discover", "kitchen.slice"]


# Types


class Colour(Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Movie(TypedDict, total=False):
    title: str
    year: int


class Model(pydantic.BaseModel):
    name: str
    born: datetime
    inner: list[Model] = []


@attrs.define
class Tree:
    value: int
    children: list[Tree] = attrs.Factory(list["Tree"])


VALUES: list[tuple[Any, Any]] = [
    (int, 3),
    (float, 2.5),
    (str, "naïve ☕"),
    (bool, True),
    (bytes, b"\x00\xff"),
    (int | str | None, None),
    (list[Point], [Point(1), Point(2, 3)]),
    (dict[str, Order], {"a": CARROT}),
    (tuple[int, str], (1, "a")),
    (Movie, {"title": "Ran"}),
    (Colour, Colour.RED),
    (datetime, datetime(2026, 11, 29, 4, 0, tzinfo=UTC)),
    (UUID, UUID(int=1)),
    (Model, Model(name="a", born=datetime(2026, 1, 1, tzinfo=UTC), inner=[])),
    (list[Model], [Model(name="a", born=datetime(2026, 1, 1, tzinfo=UTC), inner=[])]),
    (Tree, Tree(1, [Tree(2), Tree(3, [Tree(4)])])),
]


@pytest.mark.rule("T1")
@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=[str(each) for each, _ in VALUES])
async def test_values_arrive_as_they_were_sent(join: Join, annotation: Any, value: Any) -> None:
    received: list[Any] = []

    async def echo(value: Any) -> Any:
        received.append(value)
        return value

    class Contract:
        async def echo(self, value: Any) -> Any: ...

    for function in echo, Contract.echo:
        function.__annotations__ = {"value": annotation, "return": annotation}
    async with join("bob") as bob, join("alice") as alice:
        bob.method(echo)
        assert await alice.call(Contract.echo, "bob", value) == value
    assert received == [value]
    assert type(received[0]) is type(value)


# T2


class Strict(Protocol):
    """The contract that alice believes in, and that bob does not fulfil."""

    async def slice(self, order: str) -> list[int]: ...
    async def caller(self) -> int: ...
    async def rest(self, surplus: int) -> None: ...


@pytest.mark.rule("T2")
@pytest.mark.parametrize(
    ("payload", "path", "expected"),
    [
        ("{}", "$", "the argument 'order' is missing"),
        ("", "$", "the argument 'order' is missing"),
        ('{"order": 1}', "$.order", "Expected `object`, got `int`"),
        ('{"order": {}}', "$.order", "Object missing required field `vegetable`"),
        (
            '{"order": {"vegetable": "a", "length_mm": "b"}}',
            "$.order.length_mm",
            "Expected `int`, got `str`",
        ),
        (
            '{"order": {"vegetable": "a", "length_mm": 1}, "times": null}',
            "$.times",
            "Expected `int`, got `null`",
        ),
        ('{"order": {"vegetable": "a", "length_mm": 1}, "x": 1}', "$", "there is no argument 'x'"),
        ("[1]", "$", "a JSON object of arguments by name was expected"),
        ("no JSON", "$", "a JSON object of arguments by name was expected"),
        ('{"order": 1e999999', "$", "a JSON object of arguments by name was expected"),
        ("[" * 15_000, "$", "a JSON object of arguments by name was expected"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_with_a_path(
    pair: Pair, payload: str, path: str, expected: str
) -> None:
    with pytest.raises(RpcError) as caught:
        await call_text(pair.alice, "slice", payload)
    assert caught.value.code == 7422
    assert json.loads(caught.value.data or "") == {
        "method": "slice",
        "path": path,
        "expected": expected,
    }


@pytest.mark.rule("T2")
async def test_the_caller_gets_invalid_arguments(pair: Pair) -> None:
    with pytest.raises(InvalidArguments) as caught:
        await pair.alice.call(Strict.slice, "bob", "a carrot")
    error = caught.value
    assert (error.method, error.path) == ("slice", "$.order")
    assert error.expected == "Expected `object`, got `str`"
    with pytest.raises(InvalidArguments, match="there is no argument 'surplus'"):
        await pair.alice.call(Strict.rest, "bob", 1)


@pytest.mark.rule("T2")
@pytest.mark.parametrize(("data", "expected"), [(None, ""), ("no JSON", "no JSON")])
async def test_a_peer_may_say_it_in_its_own_words(
    pair: Pair, data: str | None, expected: str
) -> None:
    async def refuse(data_: RpcInvocationData) -> str:
        raise RpcError(7422, "no", data)

    pair.bob.register_rpc_method("its.rest", refuse)
    with pytest.raises(InvalidArguments) as caught:
        await pair.alice.client(Kitchen, "bob", prefix="its.").rest()
    assert caught.value.expected == expected


@pytest.mark.rule("T2")
@pytest.mark.parametrize(
    ("response", "path"), [('"alice"', "$"), ("", "$"), ("no JSON", "$"), ("[" * 10_000, "$")]
)
async def test_an_answer_that_does_not_fit_is_an_invalid_response(
    pair: Pair, response: str, path: str
) -> None:
    async def answer(data: RpcInvocationData) -> str:
        return response

    pair.bob.register_rpc_method("its.caller", answer)
    caller = pair.alice.with_options(prefix="its.")
    with pytest.raises(InvalidResponse) as caught:
        await caller.call(Strict.caller, "bob")
    assert (caught.value.method, caught.value.path) == ("its.caller", path)


@pytest.mark.rule("T2")
async def test_a_model_of_pydantics_has_paths_too(join: Join) -> None:
    async def greet(model: Model) -> str:
        return model.name

    async with join("bob") as bob, join("alice") as alice:
        bob.method(greet)
        good = '{"name": "a", "born": "2026-01-01T00:00:00Z"}'
        assert await call_text(alice, "greet", f'{{"model": {good}}}') == '"a"'
        bad = f'{{"model": {{"name": "a", "born": "2026-01-01T00:00:00Z", "inner": [{good}, 1]}}}}'
        with pytest.raises(RpcError) as caught:
            await call_text(alice, "greet", bad)
    details = json.loads(caught.value.data or "")
    assert details["path"] == "$.model.inner[1]"
    assert details["expected"] == "Input should be an object"


# T3


@pytest.mark.rule("T3")
async def test_a_registered_exception_is_raised_as_its_class(pair: Pair) -> None:
    with pytest.raises(OutOfStock) as caught:
        await pair.kitchen.slice(Order("leek", 150))
    assert (caught.value.vegetable, caught.value.left) == ("leek", 2)
    assert isinstance(caught.value.__cause__, RpcError)
    with pytest.raises(RpcError) as as_text:
        await call_text(pair.alice, "slice", '{"order": {"vegetable": "leek", "length_mm": 1}}')
    assert (as_text.value.code, as_text.value.message) == (9001, "OutOfStock")
    assert json.loads(as_text.value.data or "") == {"vegetable": "leek", "left": 2}


@attrs.define
class VeryOutOfStock(OutOfStock):
    really: bool = True


@pytest.mark.rule("T3")
async def test_a_subclass_travels_as_its_registered_base_also_out_of_a_group(pair: Pair) -> None:
    async def rest() -> None:
        raise ExceptionGroup("a nursery", [VeryOutOfStock("rice")])

    pair.bob.method("its.rest")(rest)
    with pytest.raises(OutOfStock) as caught:
        await pair.alice.client(Kitchen, "bob", prefix="its.").rest()
    assert caught.value.vegetable == "rice"


@pytest.mark.rule("T3")
async def test_an_exception_that_has_travelled_can_be_shown(pair: Pair) -> None:
    # Made without calling the class, it would crash the interpreter.
    with pytest.raises(OutOfStock) as caught:
        await pair.kitchen.slice(Order("leek", 150))
    assert str(caught.value) == str(OutOfStock("leek", 2))
    assert caught.value.args == ("leek", 2)
    assert "OutOfStock" in "".join(traceback.format_exception(caught.value))


@pytest.mark.rule("T3")
async def test_only_the_fields_of_an_exception_travel(pair: Pair) -> None:
    async def rest() -> None:
        error = OutOfStock("leek", 2)
        error.secret = "secret"  # type: ignore[attr-defined]
        error.add_note("secret")
        raise error

    pair.bob.method("its.rest")(rest)
    with pytest.raises(RpcError) as caught:
        await call_text(pair.alice, "its.rest", "")
    assert caught.value.data == '{"vegetable":"leek","left":2}'


@attrs.define
class Picky(Exception):  # noqa: N818
    _amount: int = attrs.field(validator=attrs.validators.ge(0))
    text: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.text = f"{self._amount} left"


@pytest.mark.rule("T3")
async def test_the_class_of_the_caller_is_called_with_the_fields(pair: Pair) -> None:
    for room in pair.alice, pair.bob:
        room.errors.register(Picky, code=9002)

    async def good() -> None:
        raise Picky(3)

    async def bad(data: RpcInvocationData) -> str:
        raise RpcError(9002, "Picky", '{"amount": -3}')

    pair.bob.method("good.rest")(good)
    pair.bob.register_rpc_method("bad.rest", bad)
    with pytest.raises(Picky) as made:
        await pair.alice.client(Kitchen, "bob", prefix="good.").rest()
    assert made.value.text == "3 left"
    with pytest.raises(RpcError) as caught:
        await pair.alice.client(Kitchen, "bob", prefix="bad.").rest()
    assert (caught.value.code, caught.value.data) == (9002, '{"amount": -3}')


@pytest.mark.rule("T3")
@pytest.mark.parametrize("error", [KeyError("secret"), OutOfStock("secret" * 10_000)])
async def test_other_exceptions_stay_1500_and_reveal_nothing(pair: Pair, error: Exception) -> None:
    async def rest() -> None:
        raise error

    pair.bob.method("its.rest")(rest)
    with pytest.raises(RpcError) as caught:
        await pair.alice.client(Kitchen, "bob", prefix="its.").rest()
    assert caught.value.code == RpcError.ErrorCode.APPLICATION_ERROR
    assert "secret" not in str(caught.value)


@pytest.mark.rule("T3")
@pytest.mark.parametrize("data", [None, "no JSON", '{"vegetable": 1}', "{}"])
async def test_an_error_whose_data_does_not_fit_stays_an_rpc_error(
    pair: Pair, data: str | None
) -> None:
    async def fail(data_: RpcInvocationData) -> str:
        raise RpcError(9001, "OutOfStock", data)

    pair.bob.register_rpc_method("its.rest", fail)
    with pytest.raises(RpcError) as caught:
        await pair.alice.client(Kitchen, "bob", prefix="its.").rest()
    assert (caught.value.code, caught.value.data) == (9001, data)


@attrs.define
class NotJson(Exception):  # noqa: N818
    value: object = attrs.field(factory=object)
    scope: slice = slice(1)


@attrs.define(init=False)
class MadeOtherwise(Exception):  # noqa: N818
    value: int

    def __init__(self) -> None:
        self.value = 3


@attrs.define
class OfRpc(RpcError):  # noqa: N818
    pass


@pytest.mark.rule("T3")
@pytest.mark.parametrize(
    ("error_class", "code", "error"),
    [
        (KeyError, 9002, TypeError),
        (Order, 9002, TypeError),
        (OutOfStock("x"), 9002, TypeError),
        (NotJson, 9002, TypeError),
        (MadeOtherwise, 9002, TypeError),
        (OfRpc, 9002, TypeError),
        (VeryOutOfStock, 1500, ValueError),
        (VeryOutOfStock, 7422, ValueError),
        (VeryOutOfStock, -1, ValueError),
        (VeryOutOfStock, 9001, ValueError),
        (OutOfStock, 9002, ValueError),
    ],
)
async def test_what_cannot_travel_cannot_be_registered(
    error_class: Any, code: int, error: type[Exception]
) -> None:
    room = Room()
    assert room.errors.register(OutOfStock, code=9001) is OutOfStock
    with pytest.raises(error):
        room.errors.register(error_class, code=code)


# T5


@pytest.mark.rule("T5")
async def test_an_outcome_has_a_value_or_an_error(pair: Pair) -> None:
    outcome = await pair.alice.try_call(Kitchen.slice, "bob", CARROT)
    assert outcome == Outcome([50])
    assert (outcome.ok, outcome.value, outcome.error) == (True, [50], None)
    outcome = await pair.alice.try_call(Kitchen.slice, "bob", Order("leek", 1))
    assert not outcome.ok
    assert isinstance(outcome.error, OutOfStock)
    with pytest.raises(OutOfStock):
        _ = outcome.value
    outcome = await pair.alice.try_call(Kitchen.slice, "nobody", CARROT)
    assert isinstance(outcome.error, RpcError)
    assert outcome.error.code == RpcError.ErrorCode.RECIPIENT_NOT_FOUND
    with pytest.raises(TypeError):
        await pair.alice.try_call(Kitchen.slice, "bob")  # type: ignore[call-arg]


# T13


class NoAnnotation:
    async def m(self, x) -> None: ...  # type: ignore[no-untyped-def]


class NoResult:
    async def m(self, x: int): ...  # type: ignore[no-untyped-def]


class PositionalOnly:
    async def m(self, x: int, /) -> None: ...


class Many:
    async def m(self, *x: int) -> None: ...


class Anything:
    async def m(self, **x: int) -> None: ...


class WithoutJson:
    async def m(self, x: slice) -> None: ...


class ResultWithoutJson:
    async def m(self, x: int) -> complex:
        raise NotImplementedError


class DefaultWithoutJson:
    async def m(self, x: Any = ...) -> None: ...


class Ambiguous:
    async def m(self, x: Order | Point) -> None: ...


@dataclasses.dataclass
class OfInt(int):
    value: int


@attrs.define
class Secretive:
    _value: int


class PrivateField:
    async def m(self, x: list[Secretive]) -> None: ...


class ExceptionInside:
    async def m(self, x: dict[str, list[OutOfStock]]) -> None: ...


class BuiltIn:
    async def m(self, x: int) -> OfInt | None: ...


class Unknown:
    async def m(self, x: NoSuchName) -> None: ...  # type: ignore[name-defined]  # noqa: F821


BAD_METHODS = [
    (NoAnnotation, "the parameter 'x' of method 'm' has no annotation"),
    (NoResult, "the result of method 'm' has no annotation"),
    (PositionalOnly, "the parameter 'x' of method 'm' is positional-only"),
    (Many, "the parameter 'x' of method 'm' takes any number of arguments"),
    (Anything, "the parameter 'x' of method 'm' takes any arguments"),
    (WithoutJson, "the parameter 'x' of method 'm' is of type .*slice.*no form in JSON"),
    (ResultWithoutJson, "the result of method 'm' is of type .*complex.*no form in JSON"),
    (DefaultWithoutJson, "the default of the parameter 'x' of method 'm' has no form in JSON"),
    (Ambiguous, "the parameter 'x' of method 'm' is of type .*no form in JSON"),
    (
        PrivateField,
        "the parameter 'x' of method 'm' .*: the field '_value' of Secretive is private",
    ),
    (ExceptionInside, "the parameter 'x' of method 'm' .*: OutOfStock is derived from Exception"),
    (BuiltIn, "the result of method 'm' is of type .*: OfInt is derived from int"),
    (Unknown, "an annotation of method 'm' cannot be read: name 'NoSuchName'"),
]


@pytest.mark.rule("T13")
@pytest.mark.parametrize(("contract", "message"), BAD_METHODS)
def test_a_wrong_contract_is_found_when_it_is_made(contract: type, message: str) -> None:
    room = Room()
    for make in (
        lambda: room.client(contract, "bob"),
        lambda: room.method(contract().m),
        lambda: room.method("m")(contract().m),
        lambda: room.serve(contract()),
    ):
        with pytest.raises(TypeError, match=message):
            make()
    assert [*room.rpc_methods] == ["rpc.discover"]


class NotAsync:
    def m(self) -> int:
        raise NotImplementedError


class Empty:
    attribute = 1


@pytest.mark.rule("T13")
@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (NotAsync, "method 'm' of a contract has to be an `async def`"),
        (Empty, "the contract Empty has no public methods"),
        (int, "the contract int has no public methods"),
        (KitchenService().slice, "a contract is a class, such as a Protocol"),
        (3, "a contract is a class, such as a Protocol"),
    ],
)
def test_what_is_no_contract_is_refused(contract: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Room().client(contract, "bob")


@pytest.mark.rule("T13")
async def test_what_is_no_method_is_refused(pair: Pair) -> None:
    async def function(x: int) -> int:
        return x

    for method in function, KitchenService().slice, 3:
        with pytest.raises(TypeError, match="a method of a contract is wanted"):
            await pair.alice.call(method, "bob")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"async with room\.stream"):
        await pair.alice.call(Kitchen.watch, "bob", "pan 1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"async with room\.stream"):
        await pair.kitchen.watch("pan 1")  # type: ignore[misc]
    with pytest.raises(TypeError, match=r"await room\.call"):
        async with pair.alice.stream(Kitchen.slice, "bob", CARROT):  # type: ignore[arg-type]
            pass
    with pytest.raises(AttributeError):
        pair.kitchen.boil()  # type: ignore[attr-defined]


@pytest.mark.rule("T13")
def test_what_cannot_be_served_is_refused() -> None:
    def stream() -> AsyncIterator[int]:
        raise NotImplementedError

    def sync(call: CallContext) -> int:
        raise NotImplementedError

    room = Room()
    with pytest.raises(TypeError, match="`async def` that yields"):
        room.method(stream)
    with pytest.raises(TypeError, match="takes a CallContext"):
        room.method(sync)
    with pytest.raises(TypeError, match="not callable"):
        room.method("name")(3)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="has no public async methods"):
        room.serve(NotAsync())


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "missing a required argument: 'order'"),
        ((CARROT, 1, 2), {}, "too many positional arguments"),
        ((CARROT,), {"order": CARROT}, "multiple values for argument 'order'"),
        ((CARROT,), {"times": 1, "x": 2}, "unexpected keyword argument 'x'"),
    ],
)
async def test_wrong_arguments_are_what_they_are_in_python(
    pair: Pair, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        await pair.kitchen.slice(*args, **kwargs)
    with pytest.raises(TypeError, match="no form in JSON"):
        await pair.kitchen.slice(object())  # type: ignore[arg-type]


# Another codec


class Upper:
    """A codec for texts alone, all of them large."""

    def loads(self, annotation: Any, text: str) -> Any:  # noqa: ARG002
        value = json.loads(text)
        if not isinstance(value, str):
            raise InvalidValueError("$", "text was expected")
        return value.upper()

    def dumps(self, value: Any) -> str:
        return json.dumps(value)

    def schema(self, annotation: Any) -> dict[str, Any]:
        if annotation is not str:
            raise TypeError("texts only")
        return {"type": "string"}


class Shouting(Protocol):
    async def shout(self, text: str) -> str: ...


async def test_a_program_may_bring_its_own_codec(join: Join) -> None:
    alice = Room(codec=Upper())
    async with join("bob", room=Room(codec=Upper())) as bob, join("alice", room=alice):

        @bob.method
        async def shout(text: str) -> str:
            return f"{text}!" if text.isupper() else "not decoded"

        assert await alice.call(Shouting.shout, "bob", "ho") == "HO!"
        with pytest.raises(RpcError, match="text was expected"):
            await call_text(alice, "shout", '{"text": 1}')
        with pytest.raises(TypeError, match="texts only"):
            bob.serve(KitchenService())
