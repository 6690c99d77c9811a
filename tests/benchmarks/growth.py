"""The cost of calls and joins as participants, rooms, calls and bytes grow in number."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from attrs import frozen

from .cases import Load, size
from .contestants import Contestant
from .report import by_role, missing, rate, ratio, table
from .results import Results, Round
from .running import Entry, Log, make_entry, run

_PARTICIPANTS: Final = (0, 100, 300, 1_000)
_ROOMS: Final = (0, 100, 1_000, 4_000)
_PENDING: Final = (0, 100, 1_000, 10_000)
_IN_FLIGHT: Final = (1, 10, 100, 1_000, 10_000)
_PAYLOADS: Final = (1_000, 10_000, 100_000, 1_000_000, 4_000_000, 16_000_000)
_JOINS: Final = (100, 200, 400, 600, 800, 1_000)

#: With what the cost of a call is measured, where that is not what grows.
_LOAD: Final = Load(100, 10)


@frozen
class Point:
    """One place on a curve.

    Attributes:
        label: How many of what.
        load: The calls that are measured there.
        members: How many participants there are besides the two who call.
        rooms: How many rooms these are in; if one, that of the two.
        pending: How many calls wait for an answer besides those that are measured.
    """

    label: str
    load: Load = _LOAD
    members: int = 0
    rooms: int = 1
    pending: int = 0

    def entry(self) -> Entry:
        """Return the entry of the point, with the processes that it needs."""
        options = {"members": self.members, "rooms": self.rooms, "pending": self.pending}
        contestant = Contestant(
            name=self.label,
            module="crowded",
            options=options,
            roles=("server", "crowd", "callee", "caller"),
        )
        return make_entry(contestant, None)


CURVES: Final[dict[str, Sequence[Point]]] = {
    "Participants in the room besides the two": [
        Point(f"{count:,}", members=count) for count in _PARTICIPANTS
    ],
    "Rooms besides the one, of one participant each": [
        Point(f"{count:,}", members=count, rooms=count + 1) for count in _ROOMS
    ],
    "Pending calls besides those that are measured": [
        Point(f"{count:,}", pending=count) for count in _PENDING
    ],
    "Calls in flight": [Point(f"{count:,}", Load(100, count)) for count in _IN_FLIGHT],
    "Payload, one call in flight": [Point(size(count), Load(count, 1)) for count in _PAYLOADS],
}


def measure(rounds: int, seconds: float, seed: int, log: Log) -> dict[str, Results]:
    """Measure every curve; their points take turns."""
    curves = {}
    for title, points in CURVES.items():
        log(title)
        loads = {point.label: [point.load] for point in points}

        def loads_of(entry: Entry, loads: dict[str, list[Load]] = loads) -> list[Load]:
            return loads[entry.label]

        entries = [point.entry() for point in points]
        curves[title] = run(entries, loads_of, rounds=rounds, seconds=seconds, seed=seed, log=log)
    return curves


@frozen
class Joins:
    """Some joins in a row.

    Attributes:
        members: How many were in the room after them.
        seconds: What each took, on average.
        cpu_seconds: What the server spent on each.
        pss_bytes: The server's memory after them.
    """

    members: int
    seconds: float
    cpu_seconds: float
    pss_bytes: int


def measure_joins(log: Log) -> list[Joins]:
    """Measure joins into one room that grows."""
    entry = Point("joins").entry()
    measured = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for role in ("server", "crowd"):
            entry.start(stack, role, directory)
            entry.wait_ready(role)
        server, crowd = entry.processes["server"], entry.processes["crowd"]
        for before, members in zip((0, *_JOINS), _JOINS, strict=False):
            log(f"joins up to {members:,}")
            used = server.usage()
            crowd.send({"joins": members - before})
            seconds = crowd.receive()["seconds"]
            usage = server.usage()
            joins = members - before
            cpu_seconds = (usage.cpu_seconds - used.cpu_seconds) / joins
            measured.append(Joins(members, seconds / joins, cpu_seconds, usage.pss_bytes))
    return measured


def report(curves: dict[str, Results], joins: Sequence[Joins]) -> str:
    """Render all results as tables."""
    header = ["", "calls/s", "p50 ms", "CPU µs per call", "total CPU / first", "memory MB (PSS)"]
    tables = [
        f"### {title}\n\n{table(header, _rows(CURVES[title], results))}{missing(results)}"
        for title, results in curves.items()
    ]
    rows = [
        [
            f"{each.members:,}",
            f"{each.seconds * 1e3:.1f}",
            f"{each.cpu_seconds * 1e3:.1f}",
            f"{each.cpu_seconds / each.members * 1e6:.1f}",
            f"{each.pss_bytes / 1e6:.0f}",
        ]
        for each in joins
    ]
    header = ["participants", "ms per join", "server CPU ms", "CPU µs / participant", "memory MB"]
    tables.append(f"### Joins into a growing room\n\n{table(header, rows)}")
    return "\n".join(tables)


def _rows(points: Sequence[Point], results: Results) -> list[list[str]]:
    measured = [point for point in points if point.label not in results.missing]

    def median(point: Point, value: Callable[[Round], float]) -> float:
        spread = results.spread(point.label, point.load, value)
        assert spread is not None
        return spread.median

    def total(each: Round) -> float:
        return sum(each.cpu.values())

    return [
        [
            point.label,
            rate(median(point, lambda each: each.rate)),
            f"{median(point, lambda each: each.p50) * 1e3:.2f}",
            by_role(results, point.label, point.load, "cpu", 1e6),
            ratio(median(point, total) / median(measured[0], total)),
            by_role(results, point.label, point.load, "pss", 1e-6),
        ]
        for point in measured
    ]
