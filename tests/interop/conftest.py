"""Real programs with real SDKs, around one server, in a network of their own.

All that is slow happens once in a session: each program is started when it is first needed, and
lives to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from ..support.tokens import make_token
from .livekit_server import serving_livekit
from .network import Network, network
from .pairs import ServerName
from .program import Peer, Program, running
from .programs import command_of, command_of_user
from .server import Server, serving, serving_like_livekit
from .table import PAGE, Table, replace_section
from .versions import versions


@pytest.fixture(scope="session", autouse=True)
def own_network() -> Iterator[Network]:
    """The network that the whole session takes place in."""
    with network() as made:
        yield made


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the logs of the programs."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def trio_server(own_network: Network, logs: Path) -> Iterator[Server]:
    """The server under test."""
    with serving(own_network.address, "trio", logs / "server") as server:
        yield server


@pytest.fixture(scope="session")
def livekit_server(own_network: Network, logs: Path) -> Iterator[Server]:
    """The server that ours is compared with, where it is installed."""
    with serving_livekit(own_network.address, logs / "livekit-server") as server:
        yield server


@define
class Programs:
    """The programs that were started so far, one of each kind."""

    _logs: Path
    _stack: ExitStack
    _running: dict[str, Program] = field(factory=dict)

    def get(self, kind: str) -> Program:
        """Return the program of a kind; skip the test where it can't run."""
        if kind not in self._running:
            self._running[kind] = self._stack.enter_context(self.new(kind))
        return self._running[kind]

    def new(self, kind: str) -> Any:
        """Return another program of a kind, as a context manager."""
        log = self._logs / f"{kind.replace(' ', '-')}-{len(list(self._logs.iterdir()))}"
        return running(kind, command_of(kind), log)


@pytest.fixture(scope="session")
def programs(own_network: Network, logs: Path) -> Iterator[Programs]:
    with ExitStack() as stack:
        yield Programs(logs, stack)


@define
class Cast:
    """The participants of one room.

    Attributes:
        room: The name of the room.
        suffix: What tells their identities from those in other rooms.
    """

    room: str
    _url: str
    _programs: Programs
    suffix: str = ""
    _peers: dict[str, Peer] = field(factory=dict)
    _introduced: set[tuple[str, str]] = field(factory=set)

    def peer(self, kind: str, role: str) -> Peer:
        """Return a participant of a kind, which joins at its first command."""
        identity = f"{kind} {role}{self.suffix}"
        if identity not in self._peers:
            self._peers[identity] = self.join(self._programs.get(kind), identity)
        return self._peers[identity]

    def join(self, program: Program, identity: str, **grants: Any) -> Peer:
        """Have a participant join."""
        peer = Peer(program, identity)
        peer.join(*self.admission(identity, **grants))
        return peer

    @property
    def server(self) -> tuple[str, Programs]:
        """The server, and the programs, for a cast in another room."""
        return self._url, self._programs

    def admission(self, identity: str, **grants: Any) -> tuple[str, str]:
        """Return the URL and a token to join with."""
        grants = {"can_update_own_metadata": True, **grants}
        return self._url, make_token(identity, room=self.room, **grants)

    def leave(self) -> None:
        """Have all leave that `peer` has returned."""
        for peer in self._peers.values():
            peer.leave()

    def introduce(self, *peers: Peer) -> None:
        """Wait until these see each other."""
        for one in peers:
            for other in peers:
                if one is not other and (one.identity, other.identity) not in self._introduced:
                    one.wait_for("sees", who=other.identity)
                    self._introduced.add((one.identity, other.identity))


@pytest.fixture(scope="session")
def cast(trio_server: Server, programs: Programs) -> Cast:
    """The participants whose pairs are tried out."""
    return Cast("pairs", trio_server.url, programs)


@pytest.fixture(scope="session")
def browser(logs: Path) -> Iterator[Program]:
    """A browser, in which users open pages."""
    with running("user", command_of_user(), logs / "user") as program:
        yield program


@pytest.fixture(scope="session")
def livekit_cast(livekit_server: Server, programs: Programs) -> Cast:
    """The participants whose pairs are tried out on livekit-server."""
    return Cast("pairs", livekit_server.url, programs, " on livekit-server")


@pytest.fixture(scope="session")
def livekit_like_cast(own_network: Network, logs: Path, programs: Programs) -> Iterator[Cast]:
    """The participants whose pairs are tried out on our server that behaves as a livekit-server."""
    with serving_like_livekit(own_network.address, logs / "livekit-like") as server:
        yield Cast("pairs", server.url, programs, " on a server like LiveKit's")


@pytest.fixture
def server_of(request: pytest.FixtureRequest) -> Callable[[ServerName], Server]:
    """Return a server, which is started when it is first needed."""
    names = {"trio-rpc": "trio_server", "livekit-server": "livekit_server"}

    def find(server: ServerName) -> Server:
        found: Server = request.getfixturevalue(names[server])
        return found

    return find


@pytest.fixture
def cast_of(request: pytest.FixtureRequest) -> Callable[[ServerName], Cast]:
    """Return the participants on a server, which is started when it is first needed."""
    names = {
        "trio-rpc": "cast",
        "livekit-server": "livekit_cast",
        "LiveKitLikeServer": "livekit_like_cast",
    }

    def find(server: ServerName) -> Cast:
        found: Cast = request.getfixturevalue(names[server])
        return found

    return find


# The table of results

_TABLE = pytest.StashKey[Table]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TABLE] = Table()
    config.addinivalue_line("markers", "column(heading): a column of the table of results")


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say in the table, by a key of `NOTES`, that a pair does something else than the rules ask."""

    def note(key: str) -> None:
        request.node.user_properties.append(("note", key))

    return note


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say in docs/interop.md what was measured."""
    return request.config.stash[_TABLE].figures.append


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report: pytest.TestReport = yield
    column = item.get_closest_marker("column")
    # What is skipped leaves the table incomplete.
    if column and (report.failed or (report.passed and report.when == "call")):
        notes = [str(value) for key, value in item.user_properties if key == "note"]
        case = item.callspec.params["pair"]  # type: ignore[attr-defined]
        item.config.stash[_TABLE].record(case, column.args[0], passed=report.passed, notes=notes)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    table = session.config.stash[_TABLE]
    if table.is_complete:
        replace_section("figures", "\n\n".join([versions(), *table.figures]))
        if table.write():
            table.figures.append(
                f"The results differ from docs/{PAGE.name}, which was rewritten: commit it."
            )
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for line in config.stash[_TABLE].figures:
        terminalreporter.write_line(line)
