"""Calls and streams between each two participants: one column of docs/interop.md each."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Final

import pytest
from attrs import define, frozen

from trio_rpc import RpcError

from .conftest import Cast
from .pairs import PAIRS
from .program import Call, Failure, Peer
from .programs import OURS, WAITING

pytestmark = pytest.mark.parametrize(
    "pair", PAIRS, indirect=True, ids=[f"{caller} calls {callee}" for caller, callee in PAIRS]
)

Note = Callable[[str], None]
Pairs = dict[tuple[str, str], Call]
Codes = RpcError.ErrorCode

V1_LIMIT: Final = 15_360
#: What peers/ours.py sets for itself.
OUR_LIMIT: Final = 100_000
LARGE: Final = 90_000
#: Seconds after which a call may end that is to end with its timeout.
SHORT: Final = 2.0


@frozen
class Pair:
    """A caller and a callee in one room."""

    kinds: tuple[str, str]
    caller: Peer
    callee: Peer

    def call(self, method: str, payload: str = "") -> str | Failure:
        return self.caller.call(self.callee.identity, method, payload)

    @property
    def limit(self) -> int:
        """The largest payload that is sure to go through."""
        return V1_LIMIT if "old python" in self.kinds else OUR_LIMIT


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


@pytest.fixture
def pair(request: pytest.FixtureRequest, cast: Cast) -> Pair:
    caller, callee = request.param
    made = Pair(request.param, cast.peer(caller, "calls"), cast.peer(callee, "answers"))
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
    if pair.kinds == ("old python", "browser"):
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
    assert received["reliable"] == reliable


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


@define
class Rounds:
    """Calls between all pairs that take part, made in one go."""

    _cast: Cast
    _pairs: list[tuple[str, str]]

    def begin(self, role: str, method: str, response_timeout: float) -> Pairs:
        """Have each caller call its callees of a role."""
        peers = {pair: both for pair in self._pairs if (both := self._peers(*pair, role))}
        for caller, callee in peers.values():
            self._cast.introduce(caller, callee)
        return {
            pair: caller.begin_call(callee.identity, method, response_timeout=response_timeout)
            for pair, (caller, callee) in peers.items()
        }

    def _peers(self, caller: str, callee: str, role: str) -> tuple[Peer, Peer] | None:
        try:
            return self._cast.peer(caller, "calls"), self._cast.peer(callee, role)
        except pytest.skip.Exception:
            return None


@pytest.fixture(scope="module")
def rounds(cast: Cast, request: pytest.FixtureRequest) -> Rounds:
    items = (item for item in request.session.items if item.path == request.path)
    chosen = {item.callspec.params["pair"] for item in items}  # type: ignore[attr-defined]
    return Rounds(cast, [pair for pair in PAIRS if pair in chosen])


@pytest.fixture(scope="module")
def calls_that_hang(rounds: Rounds) -> Pairs:
    return rounds.begin("answers", "hang", SHORT)


@pytest.fixture(scope="module")
def calls_for_a_number(rounds: Rounds) -> Pairs:
    return rounds.begin("answers", "number", SHORT)


@pytest.fixture(scope="module")
def calls_to_who_leaves(cast: Cast, rounds: Rounds) -> Pairs:
    calls = rounds.begin("leaves", "hang", 3 * SHORT)
    for caller, callee in calls:
        cast.peer(callee, "leaves").wait_for("invoked", who=cast.peer(caller, "calls").identity)
    for callee in {callee for _, callee in calls}:
        cast.peer(callee, "leaves").leave()
    return calls


@pytest.mark.column("1401")
@pytest.mark.rule("C7", "V3")
def test_an_unknown_destination_is_1401(pair: Pair, note: Note) -> None:
    # Long before the timeout, or an SDK would have answered 1501 or 1502.
    outcome = pair.caller.call("nobody", "echo")
    if pair.kinds[0] not in OURS:
        note("roster")
    if pair.kinds[0] == "old python":
        note("misses")
        if said(outcome) == built_in(Codes.CONNECTION_TIMEOUT):
            return
    assert outcome == Failure(
        *built_in(Codes.RECIPIENT_NOT_FOUND), "no participant 'nobody' is in room 'pairs'"
    )


@pytest.mark.column("1502")
@pytest.mark.rule("A5", "C1")
def test_a_handler_that_takes_too_long_is_1502(pair: Pair, calls_that_hang: Pairs) -> None:
    outcome = calls_that_hang[pair.kinds].outcome()
    assert said(outcome) == built_in(Codes.RESPONSE_TIMEOUT)


@pytest.mark.column("1503")
@pytest.mark.rule("C8", "A12")
def test_a_callee_that_leaves_is_1503(pair: Pair, calls_to_who_leaves: Pairs, note: Note) -> None:
    outcome = calls_to_who_leaves[pair.kinds].outcome()
    expected = [built_in(Codes.RECIPIENT_DISCONNECTED)]
    if pair.kinds[0] in WAITING and pair.kinds[1] not in OURS:
        note("waits")
        expected.append(built_in(Codes.RESPONSE_TIMEOUT))
    assert said(outcome) in expected


@pytest.mark.column("not text")
@pytest.mark.rule("A8", "A9")
def test_a_result_that_is_not_text_is_1500(
    pair: Pair, calls_for_a_number: Pairs, note: Note
) -> None:
    outcome = calls_for_a_number[pair.kinds].outcome()
    match pair.kinds[1]:
        case "trio" | "asyncio":
            assert said(outcome) == built_in(Codes.APPLICATION_ERROR)
        case "python" | "old python":
            note("silent")
            assert said(outcome) == built_in(Codes.RESPONSE_TIMEOUT)
        case _:
            note("converts")
            assert outcome == "42"
