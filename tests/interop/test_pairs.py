"""Calls and streams between each two participants: one column of docs/interop.md each."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import pytest
from attrs import define, field, frozen

from trio_rpc import RpcError

from .conftest import Cast
from .pairs import CASES, LIVEKIT_LIKE, Case, ServerName
from .program import Call, Failure, Peer
from .programs import FIRST_VERSION, GO, OLD, OURS, SILENT, WAITING

pytestmark = pytest.mark.parametrize(
    "pair",
    CASES,
    indirect=True,
    ids=[f"{caller} calls {callee} on {server}" for server, caller, callee in CASES],
)

Note = Callable[[str], None]
Pairs = dict[tuple[str, str], Call]
Codes = RpcError.ErrorCode

V1_LIMIT: Final = 15_360
#: What peers/ours.py sets for itself.
OUR_LIMIT: Final = 100_000
LARGE: Final = 90_000
#: Seconds after which a call may end that is to end with its timeout, and of one that is not.
SHORT: Final = 2.0
LONG: Final = 60.0


@frozen
class Pair:
    """A caller and a callee in one room of a server."""

    server: ServerName
    kinds: tuple[str, str]
    cast: Cast
    caller: Peer
    callee: Peer

    def call(self, method: str, payload: str = "") -> str | Failure:
        outcome = self.caller.call(self.callee.identity, method, payload)
        if self.kinds[0] == OLD and outcome == Failure(*built_in(Codes.CONNECTION_TIMEOUT), None):
            # It missed the answer, which came at once: see the note "misses".
            return self.caller.call(self.callee.identity, method, payload)
        return outcome

    @property
    def limit(self) -> int:
        """The largest payload that is sure to go through."""
        return V1_LIMIT if FIRST_VERSION.intersection(self.kinds) else OUR_LIMIT


def built_in(code: RpcError.ErrorCode) -> tuple[int, str]:
    return code, RpcError.ErrorMessage[code]


def said(outcome: str | Failure) -> tuple[int, str]:
    """Return the code and message of a failure; its data differs between SDKs."""
    assert isinstance(outcome, Failure), outcome
    return outcome.code, outcome.message


#: Printable characters of one to four bytes.
_CODES: Final = [
    code
    for first, last in ((0x21, 0x7E), (0xA1, 0x17F), (0x4E00, 0x9FA5), (0x1F300, 0x1F5FF))
    for code in range(first, last + 1)
]


def text_of(size: int) -> str:
    """Return a text of `size` UTF-8 bytes, which hardly compresses."""
    numbers = random.Random(size)
    text = ""
    while (left := size - len(text.encode())) > 4:
        text += "".join(chr(numbers.choice(_CODES)) for _ in range(max(1, left // 8)))
    return text + "x" * left


@pytest.fixture(scope="module")
def chosen(request: pytest.FixtureRequest) -> list[Case]:
    """The cases that are not deselected."""
    items = (item for item in request.session.items if item.path == request.path)
    cases = {item.callspec.params["pair"] for item in items}  # type: ignore[attr-defined]
    return [case for case in CASES if case in cases]


@pytest.fixture
def pair(
    request: pytest.FixtureRequest,
    cast_of: Callable[[ServerName], Cast],
    chosen: list[Case],
) -> Pair:
    server, caller, callee = request.param
    cast = cast_of(server)
    for name, *kinds in chosen:
        # A livekit-server takes 3 s to announce somebody: let all join at once.
        for kind, role in zip(kinds, ("calls", "answers"), strict=True):
            if name == server:
                with suppress(pytest.skip.Exception):
                    cast.peer(kind, role)
    made = Pair(
        server,
        (caller, callee),
        cast,
        cast.peer(caller, "calls"),
        cast.peer(callee, "answers"),
    )
    cast.introduce(made.caller, made.callee)
    return made


@pytest.mark.column("call")
@pytest.mark.rule("A3")
def test_a_call_is_answered(pair: Pair) -> None:
    described = pair.call("describe", "hi")
    assert isinstance(described, str), described
    data = json.loads(described)
    assert data["caller"] == pair.caller.identity
    assert data["payload"] == "hi"
    assert 0 < data["response_timeout"] <= 20
    assert len(data["id"]) == 36


@pytest.mark.column("15,360 B")
@pytest.mark.rule("C10")
def test_a_payload_of_15360_bytes_goes_through_and_back(pair: Pair) -> None:
    payload = text_of(V1_LIMIT)
    assert pair.call("echo", payload) == payload


@pytest.mark.column("90 kB in chunks")
@pytest.mark.rule("N3", "S4")
def test_a_large_payload_goes_through_in_chunks(pair: Pair, note: Note) -> None:
    check_large(pair, text_of(LARGE), note)


@pytest.mark.column("90 kB compressed")
@pytest.mark.rule("N3", "S5")
def test_a_large_payload_that_compresses_well_goes_through(pair: Pair, note: Note) -> None:
    check_large(pair, "trio! " * (LARGE // 6), note)


def check_large(pair: Pair, payload: str, note: Note) -> None:
    outcome = pair.call("echo", payload)
    if len(payload.encode()) <= pair.limit:
        assert outcome == payload
    else:
        note("v1")
        assert said(outcome) == built_in(Codes.REQUEST_PAYLOAD_TOO_LARGE)


@pytest.mark.column("custom error")
@pytest.mark.rule("A6", "C14")
def test_an_error_of_the_handler_comes_as_it_was_raised(pair: Pair) -> None:
    assert pair.call("fail") == Failure(4321, "out of milk", '{"left": 0}')


@pytest.mark.column("1400")
@pytest.mark.rule("A2")
def test_an_unknown_method_is_1400(pair: Pair) -> None:
    assert said(pair.call("make coffee")) == built_in(Codes.UNSUPPORTED_METHOD)


@pytest.mark.column("1402")
@pytest.mark.rule("C10")
def test_a_payload_over_the_limit_is_1402(pair: Pair, note: Note) -> None:
    outcome = pair.call("size", "x" * (pair.limit + 1))
    if pair.limit == OUR_LIMIT and pair.kinds[0] not in OURS:
        note("unlimited")
        assert outcome == str(pair.limit + 1)
    else:
        assert said(outcome) == built_in(Codes.REQUEST_PAYLOAD_TOO_LARGE)


@pytest.mark.column("1500")
@pytest.mark.rule("A7")
def test_an_exception_in_the_handler_is_1500_and_stays_there(pair: Pair, note: Note) -> None:
    outcome = pair.call("crash")
    assert said(outcome) == built_in(Codes.APPLICATION_ERROR)
    if pair.kinds[0] in FIRST_VERSION and pair.kinds[1] == "browser":
        note("leaks")
        assert "a secret" in str(outcome)
    else:
        assert "secret" not in str(outcome)


@pytest.mark.column("1504")
@pytest.mark.rule("A8")
def test_an_answer_over_the_limit_is_1504(pair: Pair, note: Note) -> None:
    outcome = pair.call("repeat", str(pair.limit + 1))
    if pair.limit == OUR_LIMIT and pair.kinds[1] not in OURS:
        note("unlimited")
        assert outcome == "x" * (pair.limit + 1)
    else:
        assert said(outcome) == built_in(Codes.RESPONSE_PAYLOAD_TOO_LARGE)


# Data


@pytest.mark.column("data")
@pytest.mark.rule("V2", "P5")
@pytest.mark.parametrize("reliable", [True, False], ids=["reliable", "lossy"])
def test_data_arrives(pair: Pair, reliable: bool) -> None:
    pair.caller.publish("soup's on", pair.callee.identity, reliable=reliable, topic="kitchen")
    received = pair.callee.wait_for("data", who=pair.caller.identity)
    assert (received["payload"], received["topic"]) == ("soup's on", "kitchen")
    # LiveKit's SDK for Go does not say.
    assert received["reliable"] == (None if pair.kinds[1] == GO else reliable)


@pytest.mark.column("text stream")
@pytest.mark.rule("S4")
@pytest.mark.parametrize("size", [5, LARGE])
def test_a_text_stream_arrives(pair: Pair, size: int) -> None:
    text = text_of(size)
    pair.caller.send_text(text, pair.callee.identity)
    assert pair.callee.wait_for("text", who=pair.caller.identity)["text"] == text


@pytest.mark.column("attributes")
@pytest.mark.rule("V6", "V7")
def test_metadata_name_and_attributes_are_seen(pair: Pair) -> None:
    caller, callee = pair.caller, pair.callee
    who = caller.identity
    caller.set_metadata(f"shown to {callee.identity}")
    # LiveKit's Rust SDK (Python, Node) sends the metadata that it last saw along with a name.
    caller.wait_for("metadata", who=who, value=f"shown to {callee.identity}")
    caller.set_name(f"Known to {callee.identity}")
    caller.wait_for("name", who=who, value=f"Known to {callee.identity}")
    caller.set_attributes({"seen by": callee.identity})
    callee.wait_for("metadata", who=who, value=f"shown to {callee.identity}")
    callee.wait_for("name", who=who, value=f"Known to {callee.identity}")
    callee.wait_for("attributes", who=who, value={"seen by": callee.identity})
    seen = callee.participants()[who]
    assert seen == {
        "name": f"Known to {callee.identity}",
        "metadata": f"shown to {callee.identity}",
        "attributes": {"seen by": callee.identity},
    }


# Slow tests: all pairs at once


Begin = Callable[[Cast, list[tuple[str, str]]], Pairs]


@define
class Round:
    """Calls between all pairs on a server, made in one go as soon as one of them is asked for."""

    _chosen: list[Case]
    _begin: Begin
    _calls: dict[ServerName, Pairs] = field(factory=dict)

    def outcome(self, pair: Pair) -> str | Failure:
        """Wait for the end of a pair's call."""
        if pair.server not in self._calls:
            pairs = [
                (caller, callee) for name, caller, callee in self._chosen if name == pair.server
            ]
            self._calls[pair.server] = self._begin(pair.cast, pairs)
        return self._calls[pair.server][pair.kinds].outcome()


def call_all(
    cast: Cast,
    pairs: list[tuple[str, str]],
    role: str,
    method: str,
    response_timeout: Callable[[str, str], float],
) -> Pairs:
    """Have each caller call its callees of a role."""
    peers = peers_of(cast, pairs, role, method)
    for caller, callee in peers.values():
        cast.introduce(caller, callee)
    return {
        pair: caller.begin_call(callee.identity, method, response_timeout=response_timeout(*pair))
        for pair, (caller, callee) in peers.items()
    }


def peers_of(
    cast: Cast, pairs: list[tuple[str, str]], role: str, method: str
) -> dict[tuple[str, str], tuple[Peer, Peer]]:
    """Return the caller of each pair and its callee of a role, as far as they can run here."""
    found = {}
    for caller, callee in pairs:
        # LiveKit's SDK for Go hears nothing while a handler runs.
        its_role = f"{role}, {method}, {caller}" if callee == GO else role
        with suppress(pytest.skip.Exception):
            found[caller, callee] = cast.peer(caller, "calls"), cast.peer(callee, its_role)
    return found


def call_who_hangs(cast: Cast, pairs: list[tuple[str, str]]) -> Pairs:
    return call_all(cast, pairs, "answers", "hang", lambda *_: SHORT)


def ask_for_a_number(cast: Cast, pairs: list[tuple[str, str]]) -> Pairs:
    def response_timeout(_: str, callee: str) -> float:
        return SHORT if callee in SILENT else LONG

    return call_all(cast, pairs, "answers", "number", response_timeout)


def waits(caller: str, callee: str) -> bool:
    """Whether a call goes on when the callee has left."""
    return caller in WAITING and callee not in OURS


def call_who_leaves(cast: Cast, pairs: list[tuple[str, str]]) -> Pairs:
    def response_timeout(caller: str, callee: str) -> float:
        return 3 * SHORT if waits(caller, callee) else LONG

    calls = call_all(cast, pairs, "leaves", "hang", response_timeout)
    peers = peers_of(cast, pairs, "leaves", "hang")
    for caller, callee in peers.values():
        callee.wait_for("invoked", who=caller.identity)
    for callee in {callee.identity: callee for _, callee in peers.values()}.values():
        callee.leave()
    return calls


def call_nobody(cast: Cast, pairs: list[tuple[str, str]]) -> Pairs:
    calls = {}
    for caller, callee in pairs:
        with suppress(pytest.skip.Exception):
            calls[caller, callee] = cast.peer(caller, "calls").begin_call("nobody", "echo")
    return calls


@pytest.fixture(scope="module")
def calls_to_nobody(chosen: list[Case]) -> Round:
    return Round(chosen, call_nobody)


@pytest.fixture(scope="module")
def calls_that_hang(chosen: list[Case]) -> Round:
    return Round(chosen, call_who_hangs)


@pytest.fixture(scope="module")
def calls_for_a_number(chosen: list[Case]) -> Round:
    return Round(chosen, ask_for_a_number)


@pytest.fixture(scope="module")
def calls_to_who_leaves(chosen: list[Case]) -> Round:
    return Round(chosen, call_who_leaves)


@pytest.mark.column("1401")
@pytest.mark.rule("C7", "V3")
def test_an_unknown_destination_is_1401(pair: Pair, calls_to_nobody: Round, note: Note) -> None:
    outcome = calls_to_nobody.outcome(pair)
    if pair.kinds[0] in OURS:
        assert said(outcome) == built_in(Codes.RECIPIENT_NOT_FOUND)
        return
    if pair.server in LIVEKIT_LIKE:
        note("dropped")
        assert said(outcome) == built_in(Codes.CONNECTION_TIMEOUT)
        return
    note("roster")
    if pair.kinds[0] == OLD:
        note("misses")
        if said(outcome) == built_in(Codes.CONNECTION_TIMEOUT):
            return
    assert outcome == Failure(
        *built_in(Codes.RECIPIENT_NOT_FOUND), "no participant 'nobody' is in room 'pairs'"
    )


@pytest.mark.column("1502")
@pytest.mark.rule("A5", "C1")
def test_a_handler_that_takes_too_long_is_1502(pair: Pair, calls_that_hang: Round) -> None:
    assert said(calls_that_hang.outcome(pair)) == built_in(Codes.RESPONSE_TIMEOUT)


@pytest.mark.column("1503")
@pytest.mark.rule("C8", "A12")
def test_a_callee_that_leaves_is_1503(pair: Pair, calls_to_who_leaves: Round, note: Note) -> None:
    expected = [built_in(Codes.RECIPIENT_DISCONNECTED)]
    if waits(*pair.kinds):
        note("waits")
        expected.append(built_in(Codes.RESPONSE_TIMEOUT))
    assert said(calls_to_who_leaves.outcome(pair)) in expected


@pytest.mark.column("not text")
@pytest.mark.rule("A8", "A9")
def test_a_result_that_is_not_text_is_1500(
    pair: Pair, calls_for_a_number: Round, note: Note
) -> None:
    outcome = calls_for_a_number.outcome(pair)
    match pair.kinds[1]:
        case "trio" | "asyncio":
            assert said(outcome) == built_in(Codes.APPLICATION_ERROR)
        case callee if callee in SILENT:
            note("silent")
            assert said(outcome) == built_in(Codes.RESPONSE_TIMEOUT)
        case "go":
            note("typed")
            assert outcome == "42"
        case _:
            note("converts")
            assert outcome == "42"
