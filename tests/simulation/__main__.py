"""`python -m tests.simulation --calls 100000 --seed 7`, or with `--adversary` or `--outages`."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial

from .checker import ViolationError
from .hostile.facts import FACTS as HOSTILE_FACTS
from .hostile.plan import ALL_MOVES
from .outages.facts import FACTS as OUTAGE_FACTS
from .run import simulate, simulate_hostile, simulate_outages
from .series import Play, play_series


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="what it is made from (default: 0)")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="trio")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--adversary", action="store_true", help="with hostile participants")
    kind.add_argument(
        "--outages", action="store_true", help="with a network that fails, and with restarts"
    )
    parser.add_argument(
        "--move", action="append", help="have them play this one, or answer so; may be repeated"
    )
    parser.add_argument("--without", action="append", default=[], help="not this; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="processes, with one of the two")
    options = parser.parse_args()
    started = time.perf_counter()
    moves = [each for each in options.move or ALL_MOVES if each not in options.without]
    try:
        if options.adversary or options.outages:
            play: Play = partial(simulate_outages, backend=options.backend)
            if options.adversary:
                chosen = moves if options.move or options.without else None
                play = partial(simulate_hostile, backend=options.backend, moves=chosen)
            figures: object = play_series(
                play,
                HOSTILE_FACTS if options.adversary else OUTAGE_FACTS,
                options.seed,
                options.calls,
                jobs=options.jobs,
                report=lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201
            )
        else:
            figures = simulate(options.seed, options.calls, options.backend)
    except ViolationError as violation:
        sys.stderr.write(f"{violation}\n")
        return 1
    sys.stdout.write(f"{figures}\nreal time: {time.perf_counter() - started:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
