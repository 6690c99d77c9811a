"""The command line of the fuzzing."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from attrs import frozen

from . import corpus
from .player import Player
from .target import Target
from .targets import TARGETS

_DESCRIPTION = """\
Fuzz everything that takes bytes of others: give it inputs that atheris makes from those that reach
new code, and check that nothing happens but what may.

Each target runs in a process of its own, and starts from the corpus that is kept in
tests/fuzz/corpus, and from what it has found before in the work folder. An input that fails is put
there too, and the run goes on; the exit status is 1 if there was one.
"""
_EXAMPLES = """\
examples:
  python -m tests.fuzz                               every target, 20 seconds each
  python -m tests.fuzz --seconds 300 --jobs 2 members peers
  python -m tests.fuzz --replay .fuzz/members/failures/failure-1 members
                                                     show how an input fails
  python -m tests.fuzz --keep                        add to the corpus what was found, where it runs
                                                     code that nothing in the corpus does

A failure that is fixed belongs into the corpus: copy its file to tests/fuzz/corpus/TARGET/. There
the ordinary tests replay it (tests/fuzz/test_corpus.py).
"""
_DICTIONARY: Final = Path(__file__).with_name("dictionary.txt")
#: Seconds that one input may take: less is no finding on a machine that is busy.
_INPUT_TIMEOUT: Final = 60
_MAX_MEGABYTES: Final = 2_048
#: Seconds beyond its time after which a process is given up.
_PATIENCE: Final = 180


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    options = _parser().parse_args(arguments)
    chosen = [TARGETS[name] for name in options.targets or TARGETS]
    if options.list:
        for target in TARGETS.values():
            print(f"{target.name:20} {target.about}")
        return 0
    if options.replay:
        return _replay(chosen, options.replay)
    if options.keep:
        for target in chosen:
            count = corpus.keep_new(target, options.folder / target.name / "found")
            print(f"{target.name:20} {count:4} kept")
        return 0
    if find_spec("atheris") is None:
        sys.exit(
            "atheris is not installed: pip install -e '.[fuzz]'. It has wheels for CPython 3.11 to "
            "3.13 on Linux (x86-64) alone; --replay and the tests do without it"
        )
    with ThreadPoolExecutor(options.jobs) as executor:
        runs = executor.map(lambda each: _fuzz(each, options.folder, options.seconds), chosen)
        failed = [run for run in runs if run.show()]
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        type=_target,
        help="all of them unless some are named; --list shows their names",
    )
    parser.add_argument(
        "--seconds",
        type=int,
        default=20,
        metavar="N",
        help="for each target (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="how many targets at the same time (default: %(default)s)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(".fuzz"),
        help="where logs, failures and what was found go (default: %(default)s)",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="show the targets, and what they do")
    instead.add_argument(
        "--replay",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="give these inputs to the targets, and show what goes wrong",
    )
    instead.add_argument(
        "--keep", action="store_true", help="add to the corpus what runs new code; see below"
    )
    return parser


def _target(name: str) -> str:
    if name not in TARGETS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(TARGETS)}")
    return name


def _replay(targets: Sequence[Target], files: Sequence[Path]) -> int:
    failed = 0
    for target in targets:
        for file in files:
            try:
                with Player(target) as player:
                    player.play(file.read_bytes())
            except BaseException:
                failed += 1
                print(f"{target.name}: {file} fails")
                traceback.print_exc()
            else:
                print(f"{target.name}: {file} is all right")
    return 1 if failed else 0


@frozen
class _Run:
    """The result of fuzzing one target.

    Attributes:
        ended: Why it ended where it should not have, or nothing.
    """

    target: Target
    seconds: int
    log: Path
    failures: list[Path]
    ended: str

    def show(self) -> bool:
        """Print the run; return whether something failed."""
        log = self.log.read_text(errors="replace")
        executed = re.findall(r"stat::number_of_executed_units:\s*(\d+)", log)
        covered = re.findall(r"\bcov: (\d+)", log)
        print(
            f"{self.target.name:20} {int((executed or ['0'])[-1]):9,} inputs, "
            f"{int((covered or ['0'])[-1]):6,} branches, {len(self.failures)} failures",
            flush=True,
        )
        for failure in self.failures:
            print(f"  {failure}")
        if self.ended:
            print(f"  {self.ended}")
        if self.failures or self.ended:
            print(f"  see {self.log}", flush=True)
        return bool(self.failures or self.ended)


def _fuzz(target: Target, folder: Path, seconds: int) -> _Run:
    own = folder.resolve() / target.name
    found, failures, log = own / "found", own / "failures", own / "log"
    for each in (found, failures):
        each.mkdir(parents=True, exist_ok=True)
    for old in failures.glob("*"):
        old.unlink()
    kept = corpus.FOLDER / target.name
    command = [
        *(sys.executable, "-m", "tests.fuzz.driver", target.name, str(failures), str(found)),
        *([str(kept)] if kept.is_dir() else []),
        f"-max_total_time={seconds}",
        f"-timeout={_INPUT_TIMEOUT}",
        f"-rss_limit_mb={_MAX_MEGABYTES}",
        f"-artifact_prefix={failures}/",
        f"-dict={_DICTIONARY}",
        "-print_final_stats=1",
    ]
    ended = ""
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds + _PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            ended = f"it did not end {_PATIENCE} s after its time"
        else:
            if done.returncode:
                ended = f"it ended with {done.returncode}"
    return _Run(target, seconds, log, sorted(failures.glob("*")), ended)


if __name__ == "__main__":
    sys.exit(main())
