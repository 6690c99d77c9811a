"""The turns of the event loop, and the system calls, of one call in flight.

`python -m tests.benchmarks.turns` prints the table of docs/performance.md. Server, callee and
caller are processes of their own, as in the benchmarks; strace counts what each asks of the system.
Every turn of an event loop asks once which sockets are ready, and waits if nothing else is to be
done.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from . import counts, report
from .cases import Load
from .contestants import CONTESTANTS
from .processes import Process, ProcessFailedError
from .running import make_entry, started

#: The contestants in the page.
_PAGE_CONTESTANTS: Final = ("tcp-trio", "tcp-asyncio", "websocket-trio", "websocket-asyncio")
_LOAD: Final = Load(100, 1)
#: Seconds of calls before those that are counted, and of those.
_WARM_UP: Final = 0.3
_SECONDS: Final = 1.0
#: What a process does less often than this in a call is not listed.
_LISTED: Final = 0.1

_POLLS: Final = frozenset({"epoll_wait", "epoll_pwait", "epoll_pwait2"})
_READS: Final = frozenset({"read", "readv", "recvfrom", "recvmsg"})
_WRITES: Final = frozenset({"write", "writev", "sendto", "sendmsg"})
_REGISTRATIONS: Final = frozenset({"epoll_ctl"})
#: The columns of the table, after the turns and the waits among them.
_COLUMNS: Final = {"reads": _READS, "writes": _WRITES, "registrations": _REGISTRATIONS}
_CALL: Final = re.compile(r"\d+ +(?:<\.\.\. )?(?P<name>\w+)[( ]")
#: The timeout of a poll that does not wait.
_AT_ONCE: Final = re.compile(r", (?:0|\{tv_sec=0, tv_nsec=0\})(?:, NULL, \d+)?\) += ")


@frozen
class Traced:
    """The system calls of one process.

    Attributes:
        calls: How often each was called, by name.
        waits: How many of the polls could wait.
        in_vain: How many reads found nothing.
    """

    calls: Mapping[str, int]
    waits: int
    in_vain: int

    @property
    def turns(self) -> int:
        """The turns of the event loop."""
        return self.sum(_POLLS)

    def sum(self, names: Iterable[str]) -> int:
        """Return how often any of these was called."""
        return sum(self.calls.get(name, 0) for name in names)


def parse(lines: Iterable[str]) -> Traced:
    """Return what strace has written of a process, with a process id in front of each line."""
    calls: Counter[str] = Counter()
    waits = in_vain = 0
    for line in lines:
        match = _CALL.match(line)
        # One that another thread interrupts is counted by the line that ends it.
        if match is None or line.endswith("<unfinished ...>"):
            continue
        name = match["name"]
        calls[name] += 1
        waits += name in _POLLS and _AT_ONCE.search(line) is None
        in_vain += name in _READS and "EAGAIN" in line
    return Traced(calls, waits, in_vain)


def rows(title: str, traced: Mapping[str, Traced], calls: int) -> Iterator[list[str]]:
    """Yield the rows of a contestant.

    Args:
        traced: What its processes did, by role.
        calls: How many calls were made meanwhile.
    """
    for role, each in traced.items():

        def a_call(number: int) -> str:
            return f"{number / calls:.0f}"

        known = _POLLS.union(*_COLUMNS.values())
        others = [
            f"{a_call(number)} {name}"
            for name, number in sorted(each.calls.items())
            if name not in known and number / calls >= _LISTED
        ]
        if each.in_vain / calls >= _LISTED:
            others.append(f"{a_call(each.in_vain)} of the reads in vain")
        columns = [each.sum(names) for names in _COLUMNS.values()]
        cells = map(a_call, (each.turns, each.waits, *columns))
        yield [f"{title}: {role}", *cells, ", ".join(others) or "-"]


def measure(name: str, environments: Path | None = None) -> tuple[Mapping[str, Traced], int]:
    """Trace the processes of a contestant; return what they did, by role, in how many calls.

    Raises:
        ProcessFailedError: a process has ended, or lacks something.
    """
    entry = make_entry(CONTESTANTS[name], environments)
    with started([entry], _log), tempfile.TemporaryDirectory() as folder:
        if entry.missing is not None:
            raise ProcessFailedError(entry.missing)
        entry.make_calls(_LOAD, _WARM_UP)
        files = {role: Path(folder, role) for role in entry.contestant.roles}
        with ExitStack() as stack:
            for role, process in entry.processes.items():
                stack.enter_context(_tracing(process, files[role]))
            calls: int = entry.make_calls(_LOAD, _SECONDS)["calls"]
        return {role: parse(file.read_text().splitlines()) for role, file in files.items()}, calls


@contextmanager
def _tracing(process: Process, file: Path) -> Iterator[None]:
    """Trace a process during the block."""
    command = ["strace", "-f", "-o", str(file), "-p", str(process.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        if "attached" not in said:
            raise ProcessFailedError(said.strip())
        try:
            yield
        finally:
            strace.terminate()


def _log(text: str) -> None:
    print(text, file=sys.stderr)


def table(names: Sequence[str], environments: Path | None = None) -> str:
    """Trace contestants, and return the table."""
    header = [str(_LOAD), "turns", "of these, waits", *_COLUMNS, "other system calls"]
    lines: list[list[str]] = []
    for name in names:
        traced, calls = measure(name, environments)
        lines += rows(CONTESTANTS[name].title, traced, calls)
    return report.table(header, lines)


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.turns",
        description="Count the turns of the event loop and the system calls of a call.",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=sorted(CONTESTANTS),
        metavar="NAME",
        help="trace this contestant; may be repeated (default: those of the page)",
    )
    parser.add_argument(
        "--environments",
        type=Path,
        metavar="FOLDER",
        help="where the others are installed, each in a virtual environment bench-NAME",
    )
    parser.add_argument("--write", action="store_true", help=f"write it into {counts.PAGE.name}")
    options = parser.parse_args()
    if shutil.which("strace") is None:
        sys.exit("strace is not installed: apt-get install strace")
    text = table(options.only or _PAGE_CONTESTANTS, options.environments)
    if options.write:
        report.write(counts.PAGE, "turns", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
