"""`python -m tests.simulation --calls 100000 --seed 7`."""

from __future__ import annotations

import argparse
import sys
import time

from .checker import ViolationError
from .run import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="what it is made from (default: 0)")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="trio")
    options = parser.parse_args()
    started = time.perf_counter()
    try:
        figures = simulate(options.seed, options.calls, options.backend)
    except ViolationError as violation:
        sys.stderr.write(f"{violation}\n")
        return 1
    sys.stdout.write(f"{figures}\nreal time: {time.perf_counter() - started:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
