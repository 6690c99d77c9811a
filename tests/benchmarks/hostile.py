"""The cost of attacks: to the attacker, to us, and to the calls of honest participants."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from attrs import field, frozen

from trio_rpc.protocol.budgets import DEFAULT_MAX_PEER_BYTES

from .attacks import ATTACKS
from .contestants import Contestant
from .processes import Usage, busy_seconds
from .report import table
from .results import Spread
from .running import Entry, Log, failures_noted, make_entry, started

_ROLES: Final = ("server", "victim", "attacker", "honest")
_OURS: Final = ("server", "victim")
_WARM_UP: Final = 0.3
#: Seconds of quiet before an attack per second of attack.
_QUIET: Final = 0.5
#: Seconds that a round may take beyond its time: calls end, and the attacker stops.
_ROUND_TIMEOUT: Final = 60.0
#: No more than this may calls of the honest to each other be slower, and a process grow. The victim
#: may be busy: it answers to its attacker.
MAX_SLOWER: Final = 3.0
MAX_GROWTH: Final = DEFAULT_MAX_PEER_BYTES


@frozen
class Case:
    """An attack over one link."""

    attack: str
    link: str

    def __str__(self) -> str:
        return f"{self.attack}, {self.link}"


@frozen
class Calls:
    """Honest calls to one participant in one round: their number, and seconds."""

    calls: int
    p50: float
    p99: float
    failures: list[tuple[str, int]]


@frozen
class Cost:
    """The outcome of one round of an attack.

    Attributes:
        before: Honest calls before it, to each other and to the victim.
        meanwhile: The same while it goes on.
        cpu: By role, seconds of CPU meanwhile, less the usual ones of honest calls.
        growth: By role, the peak of bytes in memory, less the bytes in memory before.
        turns: By role, the longest seconds of CPU in which the event loop did not look for more.
        sent_bytes: By the attacker.
        connections: By the attacker.
        told: Texts with which the server ended these, and how often.
        ended: Honest sessions that ended.
        others_cores: Cores that everything else on the machine kept busy.
    """

    before: dict[str, Calls]
    meanwhile: dict[str, Calls]
    cpu: dict[str, float]
    growth: dict[str, int]
    turns: dict[str, float]
    sent_bytes: int
    connections: int
    told: list[tuple[str, int]]
    ended: list[str]
    others_cores: float

    def slower(self, whom: str) -> float:
        """Return the p99 of calls to `whom` during the attack, as a multiple of the p99 before."""
        return self.meanwhile[whom].p99 / self.before[whom].p99

    @property
    def our_cpu(self) -> float:
        """Of server and victim together."""
        return sum(max(self.cpu[role], 0.0) for role in _OURS)


@frozen
class Outcome:
    """The costs that were measured, and reasons why some were not."""

    costs: dict[Case, list[Cost]] = field(factory=dict[Case, list[Cost]])
    missing: dict[Case, str] = field(factory=dict[Case, str])

    def others_cores(self) -> Spread | None:
        """Return the spread, over all rounds, of the cores that other processes kept busy."""
        cores = [cost.others_cores for costs in self.costs.values() for cost in costs]
        return Spread.of(cores) if cores else None


def cases(names: Sequence[str] = ()) -> list[Case]:
    """Return all attacks, or those of these names, over each of their links."""
    return [
        Case(name, link)
        for name, attack in ATTACKS.items()
        if not names or name in names
        for link in attack.links
    ]


def measure(
    chosen: Sequence[Case], rounds: int, seconds: float, log: Log, *, fresh: bool = True
) -> Outcome:
    """Measure attacks, one after the other.

    Args:
        chosen: The attacks.
        rounds: How often each is measured.
        seconds: The length of each.
        log: Called with lines of progress.
        fresh: Whether every attack meets processes of its own, which say how much they grow; else
            all of a round meet the same, which takes less time.
    """
    outcome = Outcome()
    for number in range(rounds):
        for cases_together in [[case] for case in chosen] if fresh else [chosen]:
            entry = make_entry(Contestant(name="attacked", module="attacked", roles=_ROLES), None)
            with started([entry], log):
                if entry.missing is None:
                    _call(entry, _WARM_UP)
                for case in cases_together:
                    if entry.missing is None:
                        with failures_noted(entry, log):
                            cost = _measure_one(entry, case, seconds)
                            outcome.costs.setdefault(case, []).append(cost)
                            log(f"round {number + 1} of {rounds}: {case}: {_in_short(cost)}")
                    if entry.missing is not None:
                        outcome.missing[case] = entry.missing
    return outcome


def _measure_one(entry: Entry, case: Case, seconds: float) -> Cost:
    processes = entry.processes
    busy, quiet = _Busy.now(), _usages(entry)
    before = _call(entry, seconds * _QUIET)
    at_rest = _usages(entry)
    for role in _OURS:
        processes[role].reset_peak()
        _longest_turn(entry, role)
    start = {role: processes[role].usage() for role in _OURS}
    with _called(entry, ATTACKS[case.attack].called_by):
        processes["attacker"].send({"attack": case.attack, "link": case.link})
        processes["attacker"].receive()
        meanwhile = _call(entry, seconds)
        end = _usages(entry)
        others = busy.others_since(quiet, end)
        processes["attacker"].send({})
        attacked = processes["attacker"].receive(_ROUND_TIMEOUT)
    if attacked["failure"]:
        raise AssertionError(f"the attack {case} failed: {attacked['failure']}")

    def cpu(role: str) -> float:
        honest = at_rest[role].cpu_seconds - quiet[role].cpu_seconds
        share = meanwhile[1] / before[1]
        return end[role].cpu_seconds - at_rest[role].cpu_seconds - honest * share

    return Cost(
        before=before[0],
        meanwhile=meanwhile[0],
        cpu={role: cpu(role) for role in (*_OURS, "attacker")},
        turns={role: _longest_turn(entry, role) for role in _OURS},
        growth={role: end[role].peak_bytes - start[role].peak_bytes for role in _OURS},
        sent_bytes=attacked["sent_bytes"],
        connections=attacked["connections"],
        told=attacked["told"],
        ended=meanwhile[2],
        others_cores=others,
    )


@frozen
class _Busy:
    """A moment, and the seconds of CPU that the machine had used by then."""

    time: float
    busy: float

    @classmethod
    def now(cls) -> _Busy:
        return cls(time.monotonic(), busy_seconds())

    def others_since(self, start: dict[str, Usage], end: dict[str, Usage]) -> float:
        """Return the cores that processes other than ours have kept busy since."""
        ours = sum(end[role].cpu_seconds - start[role].cpu_seconds for role in end)
        now = _Busy.now()
        return max(0.0, (now.busy - self.busy - ours) / (now.time - self.time))


def _usages(entry: Entry) -> dict[str, Usage]:
    return {role: process.usage() for role, process in entry.processes.items()}


def _call(entry: Entry, seconds: float) -> tuple[dict[str, Calls], int, list[str]]:
    """Have the honest call; return their calls, how many these were, and sessions that ended."""
    honest = entry.processes["honest"]
    honest.send({"seconds": seconds})
    received: dict[str, Any] = honest.receive(seconds + _ROUND_TIMEOUT)
    calls = {whom: Calls(**received[whom]) for whom in ("pair", "victim")}
    return calls, sum(each.calls for each in calls.values()), received["ended"]


def _longest_turn(entry: Entry, role: str) -> float:
    """Ask for the longest turn since it was asked for before."""
    entry.processes[role].send({"do": "report"})
    longest: float = entry.processes[role].receive()["longest"]
    return longest


@contextmanager
def _called(entry: Entry, role: str) -> Iterator[None]:
    """Have a participant call the attacker, if a role is given."""
    if role:
        entry.processes[role].send({"do": "call"})
        entry.processes[role].receive()
    yield
    if role:
        entry.processes[role].send({"do": "stop"})
        entry.processes[role].receive()


def broken_bars(cost: Cost) -> list[str]:
    """Return the promises that an attack breaks; empty if none."""
    slower = cost.slower("pair")
    broken = [f"p99 x{slower:.1f}"] if slower > MAX_SLOWER else []
    broken += [
        f"{role} grows by {cost.growth[role] / 1e6:.0f} MB"
        for role in _OURS
        if cost.growth[role] > MAX_GROWTH
    ]
    broken += [
        f"{count} calls to {whom} fail: {text}"
        for whom, calls in cost.meanwhile.items()
        for text, count in calls.failures
    ]
    return broken + [f"{who} is disconnected" for who in cost.ended]


def _in_short(cost: Cost) -> str:
    p99 = ", ".join(f"{whom} x{cost.slower(whom):.2f}" for whom in ("pair", "victim"))
    broken = "; ".join(broken_bars(cost))
    turns = ", ".join(f"{role} {cost.turns[role] * 1e3:.0f} ms" for role in _OURS)
    return f"p99 {p99}; turns {turns}" + (f"; BROKEN: {broken}" if broken else "")


def report(outcome: Outcome) -> str:
    """Render all results as a table."""
    header = [
        "attack",
        "p99 ms before",
        "p99 ms meanwhile",
        "p99 meanwhile / before",
        "p99 ms to the victim meanwhile",
        "p99 to the victim meanwhile / before",
        "MB sent",
        "attacker's CPU s",
        "server's, victim's CPU s",
        "our CPU / attacker's",
        "server's, victim's longest turn ms",
        "server, victim grow by MB",
        "our growth / bytes sent",
        "the attacker is told",
    ]
    rows = [_row(str(case), costs) for case, costs in outcome.costs.items()]
    lines = [table(header, rows)]
    if outcome.missing:
        lines += ["\nMissing:\n", *(f"- {case}: {why}" for case, why in outcome.missing.items())]
    if broken := list(_broken(outcome)):
        lines += ["\nBeyond the bars:\n", *broken]
    return "\n".join([*lines, ""])


def _broken(outcome: Outcome) -> Iterator[str]:
    for case, costs in outcome.costs.items():
        bars = [bar for cost in costs for bar in broken_bars(cost)]
        if bars:
            yield f"- {case}: {'; '.join(bars)}"


def _row(label: str, costs: Sequence[Cost]) -> list[str]:
    def spread(values: Sequence[float], form: str) -> str:
        return Spread.of(values).format(lambda value: format(value, form))

    def median(values: Sequence[float]) -> float:
        return Spread.of(values).median

    def each_of_ours(values: list[dict[str, float]], scale: float, form: str) -> str:
        medians = (median([each[role] for each in values]) * scale for role in _OURS)
        return " / ".join(format(value, form) for value in medians)

    sent = median([cost.sent_bytes for cost in costs])
    growth = median([sum(cost.growth.values()) for cost in costs])
    told = costs[-1].told
    return [
        label,
        spread([cost.before["pair"].p99 * 1e3 for cost in costs], ".1f"),
        spread([cost.meanwhile["pair"].p99 * 1e3 for cost in costs], ".1f"),
        spread([cost.slower("pair") for cost in costs], ".2f"),
        spread([cost.meanwhile["victim"].p99 * 1e3 for cost in costs], ".1f"),
        spread([cost.slower("victim") for cost in costs], ".2f"),
        format(sent / 1e6, ".2f"),
        format(median([cost.cpu["attacker"] for cost in costs]), ".2f"),
        each_of_ours([cost.cpu for cost in costs], 1.0, ".2f"),
        format(median([cost.our_cpu / max(cost.cpu["attacker"], 0.001) for cost in costs]), ".1f"),
        each_of_ours([cost.turns for cost in costs], 1e3, ".0f"),
        each_of_ours([{**cost.growth} for cost in costs], 1e-6, ".1f"),
        format(growth / sent, ".2f") if sent else "-",
        "; ".join(f"{text} ({count} times)" for text, count in told[:2]).replace("|", "/") or "-",
    ]
