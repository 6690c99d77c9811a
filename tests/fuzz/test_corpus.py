"""The inputs that are kept, given to their targets again: they pass wherever the tests run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from . import corpus
from .target import PATIENCE, Target, watching
from .targets import TARGETS

#: Bytes and files that the whole corpus may have: people look through it.
_MAX_CORPUS_BYTES: Final = 1_000_000
_MAX_CORPUS_FILES: Final = 500


def _targets(*, at_once: bool) -> list[Any]:
    return [
        pytest.param(target, id=target.name)
        for target in TARGETS.values()
        if target.runs_at_once is at_once
    ]


@contextmanager
def _replayed(paths: list[Path]) -> Iterator[Iterator[bytes]]:
    """Yield the inputs in these files; one that fails is named."""
    name = "none"

    def inputs() -> Iterator[bytes]:
        nonlocal name
        for path in paths:
            name = path.name
            yield path.read_bytes()

    try:
        yield inputs()
    except BaseException as error:
        error.add_note(f"the last input was {name}")
        raise


@pytest.mark.parametrize("target", _targets(at_once=True))
def test_what_is_read_at_once(target: Target) -> None:
    check = target.load_check()
    with watching(logging.DEBUG) as raise_logged, _replayed(corpus.inputs_of(target)) as inputs:
        for data in inputs:
            check(data)
            raise_logged()


@pytest.mark.anyio
@pytest.mark.parametrize("target", _targets(at_once=False))
async def test_what_runs_in_an_event_loop(target: Target, anyio_backend_name: str) -> None:
    if anyio_backend_name not in target.backends:
        pytest.skip(f"{target.name} is made for {' and '.join(target.backends)}")
    with watching(logging.DEBUG) as raise_logged, _replayed(corpus.inputs_of(target)) as inputs:
        async with target.load_arena()() as attack:
            for data in inputs:
                with anyio.fail_after(PATIENCE):
                    await attack(data)
                raise_logged()


def test_the_corpus_is_one_of_our_targets_and_small() -> None:
    assert {path.name for path in corpus.FOLDER.iterdir()} == set(TARGETS)
    files = [path for target in TARGETS.values() for path in corpus.inputs_of(target)]
    assert len(files) <= _MAX_CORPUS_FILES
    assert sum(path.stat().st_size for path in files) <= _MAX_CORPUS_BYTES
