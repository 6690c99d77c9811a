"""Behaviour around calls, with each kind of participant: joining, leaving, and permissions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

import pytest

from trio_rpc import RpcError

from .conftest import Cast, Programs
from .pairs import LIVEKIT_LIKE, ServerName
from .program import Call, Failure, Peer, Program, ProgramError
from .programs import KINDS, OURS, command_of

#: On LiveKit's server, and ours that behaves like it, those of ours: LiveKit's own are its concern.
_CASES: Final[list[tuple[ServerName, str]]] = [
    *(("trio-rpc", kind) for kind in KINDS),
    *((server, kind) for server in LIVEKIT_LIKE for kind in KINDS if kind in OURS),
]

pytestmark = pytest.mark.parametrize(
    ("server", "kind"), _CASES, ids=[f"{kind} on {server}" for server, kind in _CASES]
)

#: Those whose SDK says when others become active.
_TELL_OF_ACTIVE = frozenset({"trio", "asyncio", "python", "browser"})


@pytest.fixture
def here(cast_of: Callable[[ServerName], Cast], server: ServerName) -> Cast:
    """The participants on the server."""
    return cast_of(server)


@pytest.fixture
def watcher(here: Cast) -> Peer:
    """A participant that is in the room all the time."""
    return here.peer("trio", "watches")


Guest = Callable[..., Peer]


@pytest.fixture
def guest(here: Cast, programs: Programs, kind: str, watcher: Peer) -> Iterator[Guest]:
    """Have a participant of the kind join, for this test."""
    joined: list[Peer] = []

    def join(**grants: object) -> Peer:
        peer = here.join(programs.get(kind), f"{kind} guest{here.suffix}", **grants)
        peer.wait_for("sees", who=watcher.identity)
        joined.append(peer)
        return peer

    yield join
    for peer in joined:
        peer.leave()
    for identity in {peer.identity for peer in joined}:
        watcher.program.forget_events(watcher.identity, who=identity)


def failed(outcome: str | Failure) -> tuple[int, str | None]:
    """Return the code and data of a failure."""
    assert isinstance(outcome, Failure), outcome
    return outcome.code, outcome.data


@contextmanager
def refused() -> Iterator[None]:
    """Expect that the program reports a failure of the command in the block."""
    with pytest.raises(ProgramError):
        yield


@pytest.mark.rule("V6")
def test_joining_and_leaving_are_seen(guest: Guest, watcher: Peer) -> None:
    peer = guest()
    watcher.wait_for("sees", who=peer.identity)
    watcher.wait_for("active", who=peer.identity)
    peer.leave()
    watcher.wait_for("lost", who=peer.identity)


@pytest.mark.rule("V6")
def test_it_is_informed_that_another_participant_is_active(
    here: Cast, guest: Guest, kind: str
) -> None:
    if kind not in _TELL_OF_ACTIVE:
        pytest.skip("this SDK has no event for it")
    peer = guest()
    somebody = here.join(here.peer("trio", "watches").program, f"seen by {kind}{here.suffix}")
    peer.wait_for("active", who=somebody.identity)
    somebody.leave()
    peer.wait_for("lost", who=somebody.identity)


@pytest.mark.rule("V1")
def test_a_participant_comes_with_what_its_token_says(guest: Guest, watcher: Peer) -> None:
    peer = guest()
    watcher.wait_for("sees", who=peer.identity)
    watcher.set_attributes({"seat": "window"})
    peer.wait_for("attributes", who=watcher.identity, value={"seat": "window"})
    watcher.set_attributes({"seat": ""})
    peer.wait_for("attributes", who=watcher.identity)
    assert "seat" not in peer.participants()[watcher.identity]["attributes"]


@pytest.mark.rule("V5")
def test_a_second_one_with_its_identity_replaces_it(guest: Guest, watcher: Peer) -> None:
    first = guest()
    watcher.wait_for("sees", who=first.identity)
    second = guest()
    first.wait_for("disconnected", reason="DUPLICATE_IDENTITY")
    watcher.wait_for("lost", who=first.identity)
    watcher.wait_for("sees", who=second.identity)
    assert watcher.call(second.identity, "echo", "hi") == "hi"


@pytest.mark.rule("V4", "C12")
def test_a_hidden_participant_sees_and_receives_but_is_not_seen(
    guest: Guest, watcher: Peer
) -> None:
    ghost = guest(hidden=True)
    watcher.publish("boo", ghost.identity)
    assert ghost.wait_for("data", who=watcher.identity)["payload"] == "boo"
    assert failed(watcher.call(ghost.identity, "echo"))[0] == RpcError.ErrorCode.RECIPIENT_NOT_FOUND
    assert ghost.identity not in watcher.participants()
    assert failed(ghost.call(watcher.identity, "echo")) == (
        RpcError.ErrorCode.SEND_FAILED,
        f"{ghost.identity!r} is a hidden participant, which may not send",
    )


@pytest.mark.rule("C12", "V3")
def test_one_without_can_publish_data_is_told_so(guest: Guest, watcher: Peer) -> None:
    mute = guest(can_publish_data=False)
    assert failed(mute.call(watcher.identity, "echo")) == (
        RpcError.ErrorCode.SEND_FAILED,
        f"{mute.identity!r} lacks the grant canPublishData",
    )


@pytest.mark.rule("V7")
def test_one_without_can_update_own_metadata_keeps_what_it_has(
    guest: Guest, watcher: Peer, kind: str
) -> None:
    peer = guest(can_update_own_metadata=False)
    watcher.wait_for("sees", who=peer.identity)
    if kind in OURS or kind == "browser":
        with refused():
            peer.set_metadata("mine")
    else:
        # LiveKit's Rust core returns all the same.
        peer.set_metadata("mine")
    # Whatever was sent has arrived before this.
    assert peer.call(watcher.identity, "echo", "hi") == "hi"
    assert watcher.participants()[peer.identity]["metadata"] == ""


@pytest.fixture(scope="module")
def calls_to_killed(
    request: pytest.FixtureRequest, cast: Cast, programs: Programs
) -> Iterator[dict[str, Call]]:
    """Calls to a participant of each kind, all of whose processes are killed at the same time."""
    items = [each for each in request.session.items if "killed" in each.name]
    chosen = {each.callspec.params["kind"] for each in items}  # type: ignore[attr-defined]
    watcher = cast.peer("trio", "watches")
    calls: dict[str, Call] = {}
    with ExitStack() as stack:
        victims: list[Program] = []
        for kind in KINDS:
            with suppress(pytest.skip.Exception):
                if kind in chosen:
                    victims.append(stack.enter_context(programs.new(kind)))
                    victim = cast.join(victims[-1], f"{kind} victim")
                    watcher.wait_for("sees", who=victim.identity)
                    calls[kind] = watcher.begin_call(victim.identity, "hang", response_timeout=60)
                    victim.wait_for("invoked", who=watcher.identity)
        for program in victims:
            program.kill()
        yield calls


@pytest.mark.rule("V9", "C8")
def test_a_killed_process_is_missed(
    request: pytest.FixtureRequest, server: ServerName, kind: str, watcher: Peer
) -> None:
    if server in LIVEKIT_LIKE:
        pytest.skip("processes are killed once, in the room on our own server")
    command_of(kind)  # which skips the test where it can't run
    calls: dict[str, Call] = request.getfixturevalue("calls_to_killed")
    expected = {RpcError.ErrorCode.RECIPIENT_DISCONNECTED}
    if kind in OURS:
        # It could resume its session; its ack may have been lost with it.
        expected.add(RpcError.ErrorCode.CONNECTION_TIMEOUT)
    assert failed(calls[kind].outcome())[0] in expected
    watcher.wait_for("lost", who=f"{kind} victim")
