"""`python -m tests.simulation --calls 100000 --seed 7`, and with `--adversary` as well."""

from __future__ import annotations

import argparse
import sys
import time

from .checker import ViolationError
from .hostile.plan import ALL_MOVES
from .run import simulate
from .series import play_series


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="what it is made from (default: 0)")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="trio")
    parser.add_argument("--adversary", action="store_true", help="with hostile participants")
    parser.add_argument(
        "--move", action="append", help="have them play this one, or answer so; may be repeated"
    )
    parser.add_argument("--without", action="append", default=[], help="not this; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="processes, with --adversary")
    options = parser.parse_args()
    started = time.perf_counter()
    moves = [each for each in options.move or ALL_MOVES if each not in options.without]
    try:
        if options.adversary:
            figures: object = play_series(
                options.seed,
                options.calls,
                options.backend,
                moves if options.move or options.without else None,
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
