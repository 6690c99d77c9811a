"""Starting the processes of contestants, talking to them, and measuring them (Linux only)."""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, frozen

#: Seconds that a process gets to start, as a thousand joins take; and to end.
_START_TIMEOUT: Final = 240.0
_STOP_TIMEOUT: Final = 10.0
#: The low bits of a clock's id that make it "all CPU time of the process in the high bits".
_CPU_CLOCK: Final = 2
#: For /proc/PID/clear_refs, see proc(5).
_RESET_PEAK: Final = "5"


class ProcessFailedError(Exception):
    """A process ended, or was silent for too long; the text has the end of what it printed."""


@frozen
class Usage:
    """The CPU and memory that a process and its children have used.

    Attributes:
        cpu_seconds: On all cores, since it began.
        pss_bytes: What it has in memory; what it shares with others counts in part.
        peak_bytes: The most that it has had in memory since `reset_peak`, all of what it shares
            included.
    """

    cpu_seconds: float
    pss_bytes: int
    peak_bytes: int


@define(eq=False)
class Process:
    """A process that we started, with lines of JSON in both directions."""

    _popen: subprocess.Popen[bytes]
    _log: Any
    _selector: selectors.BaseSelector
    _buffer: bytes = b""

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._popen.pid

    def send(self, message: Mapping[str, object]) -> None:
        """Write one line to it."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps(message).encode() + b"\n")
            self._popen.stdin.flush()
        except OSError:
            raise self._failed("took no more orders") from None

    def receive(self, timeout: float = _START_TIMEOUT) -> dict[str, Any]:
        """Receive the next line of the process.

        Raises:
            ProcessFailedError: it is silent for `timeout` seconds, or has ended.
        """
        give_up = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            if not self._selector.select(give_up - time.monotonic()):
                raise self._failed(f"was silent for {timeout:.0f} s")
            assert self._popen.stdout is not None
            piece = os.read(self._popen.stdout.fileno(), 65_536)
            if not piece:
                raise self._failed("ended")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def wait_end(self, timeout: float) -> None:
        """Wait until it has ended.

        Raises:
            ProcessFailedError: it has not after `timeout` seconds.
        """
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._failed(f"did not end within {timeout:.0f} s") from None

    def usage(self) -> Usage:
        """Measure the usage so far.

        Raises:
            ProcessFailedError: it has ended.
        """
        try:
            usages = [_usage(pid) for pid in _family(self._popen.pid)]
        except OSError:
            raise self._failed("ended") from None
        return Usage(
            sum(each.cpu_seconds for each in usages),
            sum(each.pss_bytes for each in usages),
            sum(each.peak_bytes for each in usages),
        )

    def reset_peak(self) -> None:
        """Have the peak of memory begin at what is in memory now.

        Raises:
            ProcessFailedError: the process has ended.
        """
        try:
            for pid in _family(self._popen.pid):
                Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
        except OSError:
            raise self._failed("ended") from None

    def _failed(self, what: str) -> ProcessFailedError:
        self._log.seek(0)
        printed = self._log.read().decode(errors="replace").strip().splitlines()
        return ProcessFailedError(f"{what}: {' | '.join(printed[-3:])[-500:] or 'no output'}")


@contextmanager
def open_process(
    command: list[str], directory: Path, environment: Mapping[str, str]
) -> Iterator[Process]:
    """Run a process while the block runs."""
    with (
        tempfile.TemporaryFile() as log,
        selectors.DefaultSelector() as selector,
        subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as popen,
    ):
        assert popen.stdout is not None
        selector.register(popen.stdout, selectors.EVENT_READ)
        try:
            yield Process(popen, log, selector)
        finally:
            popen.terminate()
            try:
                popen.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                popen.kill()


def busy_seconds() -> float:
    """Return the CPU seconds that all processes of the machine have used, on all cores."""
    _, user, nice, system, _idle, _iowait, irq, softirq, *_ = (
        Path("/proc/stat").read_text().split(maxsplit=10)
    )
    ticks = sum(map(int, (user, nice, system, irq, softirq)))
    return ticks / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> Iterator[int]:
    """Yield the ids of a process and of all that it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _usage(pid: int) -> Usage:
    smaps = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (pss,) = re.findall(r"^Pss: +(\d+) kB$", smaps, re.MULTILINE)
    status = Path(f"/proc/{pid}/status").read_text()
    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    # What clock_getcpuclockid(3) computes: to the nanosecond, unlike /proc/PID/stat.
    cpu_seconds = time.clock_gettime(~pid << 3 | _CPU_CLOCK)
    return Usage(cpu_seconds, int(pss) * 1024, int(peak) * 1024)
