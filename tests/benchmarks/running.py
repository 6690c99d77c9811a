"""Running the contestants: all are started, then measured in rounds that take turns."""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from .cases import Load
from .contestants import Contestant
from .processes import Process, ProcessFailedError, busy_seconds, open_process
from .results import Results, Round

#: The folder that holds the package `tests`.
ROOT: Final = Path(__file__).parents[2]
#: Seconds that a round may take beyond its time, for the calls in flight to end.
_ROUND_TIMEOUT: Final = 120.0
_WARM_UP: Final = 0.3

Log = Callable[[str], object]


@define(eq=False)
class Entry:
    """A contestant in a run, under a label of its own.

    Attributes:
        contestant: Which.
        label: What its results are filed under; the contestant's name, mostly.
        python: The interpreter of its environment.
        environment: Variables of its processes' environment.
        missing: Why it can't be measured, or no further; None while it can.
    """

    contestant: Contestant
    label: str
    python: str
    environment: Mapping[str, str]
    processes: dict[str, Process] = field(factory=dict)
    missing: str | None = None
    _address: str = ""

    def start(self, stack: ExitStack, role: str, directory: Path) -> None:
        """Start the process of a role; after that, `wait_ready`."""
        contestant = self.contestant
        command = [self.python, "-P", "-m", "tests.benchmarks.roles", contestant.module, role]
        command += [json.dumps(dict(contestant.options)), self._address]
        process = open_process(command, directory, self.environment)
        self.processes[role] = stack.enter_context(process)

    def wait_ready(self, role: str) -> None:
        """Wait until the process of a role is ready.

        Raises:
            ProcessFailedError: it has ended, or lacks something.
        """
        message = self.processes[role].receive()
        if "missing" in message:
            raise ProcessFailedError(message["missing"])
        self._address = self._address or message["address"]

    def make_calls(self, load: Load, seconds: float) -> dict[str, Any]:
        """Make calls for so many seconds, and return what the caller reports of them.

        Raises:
            ProcessFailedError: a process has ended, or the calls do not.
        """
        caller = self.processes[self.contestant.roles[-1]]
        caller.send(
            {"payload_bytes": load.payload_bytes, "in_flight": load.in_flight, "seconds": seconds}
        )
        return caller.receive(seconds + _ROUND_TIMEOUT)

    def run_round(self, load: Load, seconds: float) -> Round:
        """Make calls for so many seconds, and measure them.

        Raises:
            ProcessFailedError: a process has ended, or the calls do not.
        """
        started, busy = time.monotonic(), busy_seconds()
        before = {role: process.usage() for role, process in self.processes.items()}
        measured = self.make_calls(load, seconds)
        after = {role: process.usage() for role, process in self.processes.items()}
        calls = measured["calls"]
        used = sum(after[role].cpu_seconds - before[role].cpu_seconds for role in after)
        others = busy_seconds() - busy - used
        return Round(
            rate=calls / measured["seconds"],
            p50=measured["p50"],
            p99=measured["p99"],
            cpu={
                role: (after[role].cpu_seconds - before[role].cpu_seconds) / calls for role in after
            },
            pss={role: usage.pss_bytes for role, usage in after.items()},
            others_cores=max(0.0, others / (time.monotonic() - started)),
        )


def make_entry(contestant: Contestant, environments: Path | None, label: str = "") -> Entry:
    """Return a contestant from this checkout, with the interpreter of its environment.

    Args:
        contestant: Which.
        environments: The folder of the other contestants' environments, `bench-NAME` each; with
            None, or where there is none for this one, the running interpreter has to do.
        label: What to file its results under, if that is not its name.
    """
    python = sys.executable
    if environments is not None and contestant.environment:
        # Absolute, since every process has a folder of its own; not resolved, for it is a link.
        own = environments.absolute() / f"bench-{contestant.environment}" / "bin" / "python"
        python = str(own) if own.exists() else python
    return Entry(contestant, label or contestant.name, python, {"PYTHONPATH": str(ROOT)})


@contextmanager
def started(entries: Sequence[Entry], log: Log) -> Iterator[None]:
    """Run the processes of all entries; log why an entry can't be started."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as temporary:
        for step in range(max(len(entry.contestant.roles) for entry in entries)):
            # All servers at the same time, then all callees, then all callers.
            starting: list[tuple[Entry, str]] = []
            for entry in entries:
                roles = entry.contestant.roles
                if entry.missing is None and step < len(roles):
                    directory = Path(temporary) / entry.label
                    directory.mkdir(exist_ok=True)
                    entry.start(stack, roles[step], directory)
                    starting.append((entry, roles[step]))
            for entry, role in starting:
                with failures_noted(entry, log):
                    entry.wait_ready(role)
        yield


def run(
    entries: Sequence[Entry],
    loads: Callable[[Entry], Iterable[Load]],
    *,
    rounds: int,
    seconds: float,
    seed: int,
    log: Log,
) -> Results:
    """Measure every entry with its loads, in rounds; in each, the order is another.

    A round before them warms everything up, and is not counted.
    """
    results = Results()
    shuffle = random.Random(seed).shuffle
    with started(entries, log):
        for number in range(-1, rounds):
            turns = [
                (entry, load)
                for entry in entries
                for load in loads(entry)
                if entry.contestant.supports(load)
            ]
            shuffle(turns)
            for entry, load in turns:
                if entry.missing is None:
                    with failures_noted(entry, log):
                        measured = entry.run_round(load, _WARM_UP if number < 0 else seconds)
                        if number >= 0:
                            results.add(entry.label, load, number, measured)
            log("warmed up" if number < 0 else f"round {number + 1} of {rounds}")
    results.missing = {entry.label: entry.missing for entry in entries if entry.missing is not None}
    return results


@contextmanager
def failures_noted(entry: Entry, log: Log) -> Iterator[None]:
    """Should the entry fail, go on without it."""
    try:
        yield
    except ProcessFailedError as error:
        entry.missing = str(error)
        log(f"{entry.label}: {error}")
