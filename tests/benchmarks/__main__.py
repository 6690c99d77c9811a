"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

from attrs import evolve

from . import growth, hostile, network, report
from .attacks import ATTACKS
from .cases import ALL_LOADS, MORE_LOADS, TARGET_LOADS, Load
from .contestants import CONTESTANTS, Contestant
from .results import Results
from .running import ROOT, Entry, Log, make_entry, run

#: The contestants that are measured with more than the loads of the targets by default.
_MEASURED_MORE = ("memory-trio", "websocket-trio", "websocket-asyncio", "tcp-trio")
_MAX_SECONDS = 60.0
_PAGE = ROOT / "docs" / "benchmarks.md"
_README = ROOT / "README.md"

_DESCRIPTION = """\
Measure remote calls, ours and others', side by side on the loopback address.

Every contestant is a server, a callee and a caller, each in a process of its own. All are started,
then measured in rounds: in each round all contestants make calls with all loads, in a new random
order. What is shown are medians over the rounds, with the quartiles in brackets. A contestant that
is not installed is shown as missing; `nox -s bench` installs all that pip can.
"""
_EXAMPLES = """\
examples:
  python -m tests.benchmarks --only 'websocket-*' --only nats
  python -m tests.benchmarks --full --rounds 9 --write
  python -m tests.benchmarks --compare ../before ../after --only websocket-trio
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    options = _parser().parse_args(arguments)
    chosen = [each for each in CONTESTANTS.values() if _is_chosen(each, options.only)]
    if not chosen:
        sys.exit(f"no contestant is called {' or '.join(options.only)}: see --list")
    if options.list:
        for each in chosen:
            print(f"{each.name:18} {each.title}")
        return 0
    if options.write and not _writes_no_plot(options) and find_spec("matplotlib") is None:
        sys.exit("--write draws plots with matplotlib, which nox -s bench installs")
    started = time.monotonic()

    def log(text: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {text}", file=sys.stderr, flush=True)

    if options.compare:
        print(_compare(options, [each for each in chosen if each.is_ours], log))
    elif options.growth:
        _measure_growth(options, log)
    elif options.hostile:
        _measure_hostile(options, log)
    elif options.network:
        _measure_network(options, log)
    elif options.retaining:
        _measure_retaining(options, log)
    else:
        _measure(options, chosen, log)
    return 0


def _writes_no_plot(options: argparse.Namespace) -> bool:
    return bool(options.hostile or options.network or options.retaining)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="measure this contestant, or these if it is a pattern such as '*-trio'; may be "
        "repeated (default: all)",
    )
    parser.add_argument("--list", action="store_true", help="list the contestants, and end")
    parser.add_argument(
        "--load",
        action="append",
        type=_load,
        metavar="BYTES/CALLS",
        help="measure with this load, such as 100/1000 for payloads of 100 B with 1,000 calls in "
        "flight; may be repeated (default: 100/1, 100/100, 10000/100, and for some of ours more)",
    )
    parser.add_argument("--full", action="store_true", help="measure everybody with every load")
    parser.add_argument("--rounds", type=_rounds, default=5, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=_seconds, default=0.5, help="length of each round (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the order of the rounds (default: %(default)s)"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--compare",
        nargs=2,
        type=_checkout,
        metavar=("A", "B"),
        help="measure ours from two checkouts, which take turns, and show the ratio of B to A",
    )
    instead.add_argument(
        "--growth",
        action="store_true",
        help="measure what calls and joins cost with more participants, rooms, calls and bytes",
    )
    instead.add_argument(
        "--hostile",
        action="store_true",
        help="measure what attacks cost: the attacker, us, and the calls of honest participants",
    )
    instead.add_argument(
        "--network",
        action="store_true",
        help="count calls that are lost while the network fails, or the server",
    )
    instead.add_argument(
        "--retaining",
        action="store_true",
        help="measure what retaining packets for a lost connection costs while none is lost",
    )
    parser.add_argument(
        "--fault",
        action="append",
        choices=network.FAULTS,
        metavar="NAME",
        help="with --network: measure this fault; may be repeated (default: all)",
    )
    parser.add_argument(
        "--attack",
        action="append",
        choices=sorted(ATTACKS),
        metavar="NAME",
        help="with --hostile: measure this attack; may be repeated (default: all)",
    )
    parser.add_argument(
        "--environments",
        type=Path,
        metavar="FOLDER",
        help="where the others are installed, each in a virtual environment bench-NAME",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="put the results into docs/benchmarks.md and .svg, and into README.md",
    )
    return parser


def _is_chosen(contestant: Contestant, patterns: Sequence[str] | None) -> bool:
    return not patterns or any(fnmatchcase(contestant.name, each) for each in patterns)


def _load(text: str) -> Load:
    payload_bytes, _, in_flight = text.partition("/")
    try:
        return Load(_positive(payload_bytes), _positive(in_flight))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a load: it wants BYTES/CALLS, as in 100/1000"
        ) from None


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= _MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {_MAX_SECONDS:g}")
    return seconds


def _rounds(text: str) -> int:
    try:
        return _positive(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0") from None


def _checkout(text: str) -> Path:
    package = Path(text) / "trio_rpc"
    if not package.is_dir():
        raise argparse.ArgumentTypeError(f"there is no package trio_rpc in {text!r}")
    return package.resolve()


def _measure(options: argparse.Namespace, chosen: Sequence[Contestant], log: Log) -> None:
    def loads(entry: Entry) -> Sequence[Load]:
        if options.load:
            return list(options.load)
        if options.full:
            return ALL_LOADS
        more = entry.label in _MEASURED_MORE
        return (*TARGET_LOADS, *MORE_LOADS) if more else TARGET_LOADS

    results = run(
        [make_entry(each, options.environments) for each in chosen],
        loads,
        rounds=options.rounds,
        seconds=options.seconds,
        seed=options.seed,
        log=log,
    )
    tables = [report.conditions(options.rounds, options.seconds, results), report.targets(results)]
    tables += [report.contestants(results, load) for load in results.loads()]
    tables.append(report.missing(results))
    text = "\n".join(tables)
    print(text)
    if options.write:
        from . import plot

        report.write(_PAGE, "results", text)
        report.write(_PAGE, "contestants", report.notes())
        report.write_alternatives(_README, results)
        plot.write_rates(results, _PAGE.with_suffix(".svg"))


def _measure_growth(options: argparse.Namespace, log: Log) -> None:
    curves = growth.measure(options.rounds, options.seconds, options.seed, log)
    joins = growth.measure_joins(log)
    conditions = report.conditions(options.rounds, options.seconds, *curves.values())
    text = f"{conditions}\n{growth.report(curves, joins)}"
    print(text)
    if options.write:
        from . import plot

        report.write(_PAGE, "growth", text)
        plot.write_growth(curves, joins, _PAGE.with_name("benchmarks-growth.svg"))


def _measure_hostile(options: argparse.Namespace, log: Log) -> None:
    # Longer than others' rounds: a hostile peer takes a while to reach its limits.
    seconds = 6 * options.seconds
    outcome = hostile.measure(hostile.cases(options.attack or ()), options.rounds, seconds, log)
    conditions = report.conditions(options.rounds, seconds, outcome)
    text = f"{conditions}\n{hostile.report(outcome)}"
    print(text)
    if options.write:
        report.write(_PAGE, "hostile", text)


def _measure_network(options: argparse.Namespace, log: Log) -> None:
    outcomes = network.measure(network.cases(options.fault or network.FAULTS), log)
    text = network.report(outcomes, _PAGE.read_text())
    print(text)
    if options.write:
        report.write(_PAGE, "network", text)


def _measure_retaining(options: argparse.Namespace, log: Log) -> None:
    """Measure participants that retain beside ones that do not, all of them new in each round.

    Two processes of the same program differ by some hundredths, for as long as they run.
    """
    links = ("websocket", "tcp")
    results = Results()
    for number in range(options.rounds):
        entries = [
            Entry(
                evolve(contestant, options={**contestant.options, "retains": retains}),
                label,
                sys.executable,
                {"PYTHONPATH": str(ROOT)},
            )
            for contestant in (CONTESTANTS[f"{link}-trio"] for link in links)
            for retains, label in ((False, f"{contestant.name} A"), (True, f"{contestant.name} B"))
        ]
        random.Random(options.seed + number).shuffle(entries)
        further = run(
            entries,
            lambda _entry: options.load or TARGET_LOADS[:2],
            rounds=1,
            seconds=options.seconds,
            seed=options.seed + number,
            log=lambda _text: None,
        )
        results.extend(further)
        log(f"round {number + 1} of {options.rounds}")
    conditions = report.conditions(options.rounds, options.seconds, results)
    text = f"{conditions}\n{report.comparison(results, [f'{link}-trio' for link in links])}"
    print(text)
    if options.write:
        report.write(_PAGE, "retaining", text)


def _compare(options: argparse.Namespace, ours: Sequence[Contestant], log: Log) -> str:
    with ExitStack() as stack:
        entries = []
        for letter, package in zip("AB", options.compare, strict=True):
            # The package alone: the benchmarks are this checkout's for both.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            (folder / "trio_rpc").symlink_to(package)
            path = {"PYTHONPATH": f"{folder}:{ROOT}"}
            entries += [Entry(each, f"{each.name} {letter}", sys.executable, path) for each in ours]
        results = run(
            entries,
            lambda _entry: options.load or (ALL_LOADS if options.full else TARGET_LOADS),
            rounds=options.rounds,
            seconds=options.seconds,
            seed=options.seed,
            log=log,
        )
    return report.comparison(results, [each.name for each in ours])


if __name__ == "__main__":
    sys.exit(main())
