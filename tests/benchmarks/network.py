"""Calls while the network fails, or their server: how many are lost, and how many run twice."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attrs import frozen

from .contestants import Contestant
from .contestants.base import free_port, wait_until_listening
from .interrupted import LEAD, NETWORK_FAULTS, RATE, TAIL
from .processes import ProcessFailedError
from .report import table
from .running import Entry, Log, make_entry

#: Seconds of a fault, and the response timeout of the calls meanwhile.
_DURATIONS: Final = ((5.0, 10.0), (20.0, 30.0))
#: The same for a server that is drained: it lets calls end for ten seconds.
_DRAINING: Final = ((20.0, 10.0),)
_LINKS: Final = {"websocket": "WebSocket", "tcp": "TCP"}
_BACKENDS: Final = ("trio", "asyncio")
#: The cases that run at a time, each of which keeps a third of a core busy, and the seconds between
#: the first of them: thousands of calls go on in the moment in which the network is back.
_TOGETHER: Final = 2
_STAGGER: Final = 10.0
#: Seconds that a case may take beyond its calls, and a server to listen.
_PATIENCE: Final = 120.0

#: The faults of the server: SIGKILL and SIGTERM, with another one on the same port when the time
#: is over; and SIGTERM once another one listens, which new connections go to.
_SERVER_FAULTS: Final = ("is killed", "is restarted", "is replaced")
_DRAINED: Final = frozenset({"is restarted", "is replaced"})
FAULTS: Final = (*NETWORK_FAULTS, *_SERVER_FAULTS)


@frozen
class Case:
    """A fault of the network or the server, with one kind of link, on one backend."""

    fault: str
    seconds: float
    response_timeout: float
    link: str
    backend: str

    @property
    def what(self) -> str:
        """The fault, for people."""
        if self.fault in NETWORK_FAULTS:
            return f"the proxy {self.fault}, {self.seconds:g} s"
        if self.fault == "is killed":
            return f"the server is killed, and started again {self.seconds:g} s later"
        if self.fault == "is restarted":
            return "the server gets SIGTERM, and is started again when it has ended"
        return "the server gets SIGTERM while another one takes over"

    def __str__(self) -> str:
        return f"{self.what}; {_LINKS[self.link]}, {self.backend}"


@frozen
class Outcome:
    """The outcome of the calls of one case.

    Attributes:
        calls: All calls.
        failures: Those without a response, by the code of the error.
        twice: Those whose handler ran more than once.
        slowest: Seconds that the slowest one with a response took.
        resumed: Sessions that went on.
        rejoined: Sessions that began again.
    """

    calls: int
    failures: dict[str, int]
    twice: int
    slowest: float
    resumed: int
    rejoined: int

    @property
    def lost(self) -> int:
        """The calls without a response."""
        return sum(self.failures.values())


def cases(faults: Iterable[str] = FAULTS) -> list[Case]:
    """Return all cases of some faults."""
    return [
        Case(fault, seconds, timeout, link, backend)
        for fault in faults
        for seconds, timeout in (_DRAINING if fault in _DRAINED else _DURATIONS)
        for link in _LINKS
        for backend in _BACKENDS
    ]


def measure(chosen: Sequence[Case], log: Log) -> dict[Case, Outcome | str]:
    """Measure cases, a few at a time; a text says why there is no outcome."""

    def measure_one(number: int, case: Case) -> Outcome | str:
        time.sleep(number * _STAGGER if number < _TOGETHER else 0)
        try:
            outcome = _measure_one(case)
        except ProcessFailedError as error:
            log(f"{case}: {error}")
            return str(error)
        log(f"{case}: {outcome}")
        return outcome

    with ThreadPoolExecutor(_TOGETHER) as executor:
        return dict(zip(chosen, executor.map(measure_one, count(), chosen), strict=True))


def _measure_one(case: Case) -> Outcome:
    with ExitStack() as stack, TemporaryDirectory() as temporary:
        directory = Path(temporary)
        port = free_port()
        entry = _entry(case, port)
        _start_server(stack, entry, port, directory)
        entry.start(stack, "participants", directory)
        entry.wait_ready("participants")
        participants = entry.processes["participants"]
        participants.send(
            {
                "fault": case.fault,
                "seconds": case.seconds,
                "response_timeout": case.response_timeout,
            }
        )
        if case.fault in _SERVER_FAULTS:
            time.sleep(LEAD)
            _fail_server(stack, case, entry, port, directory)
        patience = case.seconds + case.response_timeout + _PATIENCE
        return Outcome(**participants.receive(patience))


def _entry(case: Case, port: int) -> Entry:
    options = {"link": case.link, "backend": case.backend, "port": port}
    roles = ("server", "participants")
    contestant = Contestant(name="interrupted", module="interrupted", options=options, roles=roles)
    return make_entry(contestant, None)


def _start_server(stack: ExitStack, entry: Entry, port: int, directory: Path) -> None:
    """Start the server, and wait until it listens."""
    entry.start(stack, "server", directory)
    entry.wait_ready("server")
    try:
        wait_until_listening(port)
    except OSError as error:
        raise ProcessFailedError("the server does not listen") from error


def _fail_server(stack: ExitStack, case: Case, entry: Entry, port: int, directory: Path) -> None:
    server = entry.processes["server"]
    if case.fault == "is replaced":
        other_port = free_port()
        _start_server(stack, _entry(case, other_port), other_port, directory)
        entry.processes["participants"].send({"server_port": other_port})
        server.signal(signal.SIGTERM)
        return
    server.signal(signal.SIGKILL if case.fault == "is killed" else signal.SIGTERM)
    server.wait_end(_PATIENCE)
    if case.fault == "is killed":
        time.sleep(case.seconds)
    _start_server(stack, entry, port, directory)


def report(outcomes: dict[Case, Outcome | str], page: str = "") -> str:
    """Render all outcomes as a table.

    Args:
        page: An earlier table, from which the rows of other cases are taken over.
    """
    header = ["", "link, backend", "response timeout s", "calls", "lost", "run twice"]
    header += ["slowest s", "resumed, rejoined"]
    rows = {(cells[0], cells[1]): cells for cells in _rows_of(page, len(header))}
    rows |= {
        (case.what, _link(case)): [case.what, *_cells(case, outcome)]
        for case, outcome in outcomes.items()
    }
    ordered = [rows[key] for case in cases() if (key := (case.what, _link(case))) in rows]
    return f"{_conditions()}\n{table(header, ordered)}"


def _rows_of(page: str, width: int) -> list[list[str]]:
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [cells for cells in lines if len(cells) == width]


def _link(case: Case) -> str:
    return f"{_LINKS[case.link]}, {case.backend}"


def _conditions() -> str:
    return (
        f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"{RATE} calls a second in each direction, from {LEAD:g} s before the fault until "
        f"{TAIL:g} s after it; at most {_TOGETHER} rows at a time. The load average of the "
        f"machine, which was shared, was {os.getloadavg()[2]:.1f} at the end.\n"
    )


def _cells(case: Case, outcome: Outcome | str) -> list[str]:
    link = _link(case)
    if isinstance(outcome, str):
        return [link, f"{case.response_timeout:g}", outcome, "-", "-", "-", "-"]
    failures = ", ".join(f"{code}: {count:,}" for code, count in sorted(outcome.failures.items()))
    return [
        link,
        f"{case.response_timeout:g}",
        f"{outcome.calls:,}",
        f"{outcome.lost:,} ({failures})" if failures else "0",
        f"{outcome.twice:,}",
        f"{outcome.slowest:.2f}",
        f"{outcome.resumed}, {outcome.rejoined}",
    ]
