"""Saving received files: inside one directory, without overwriting any file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from io import BufferedWriter
from itertools import count
from pathlib import Path
from typing import Final

import trio

from ..streams import ByteStreamReader

#: The longest name of a file, with room for a number; file systems allow 255 bytes.
_MAX_NAME_BYTES: Final = 200
_NAMELESS: Final = "unnamed"


async def save(reader: ByteStreamReader, directory: Path) -> Path:
    """Save a file under its own name, or with a number if that is taken; return the path.

    Raises:
        StreamError: the stream broke off; nothing is left of the file.
        OSError: the file can't be written.
    """
    created = await trio.to_thread.run_sync(_create, directory, safe_name(reader.info.name))
    path = Path(created.name)
    try:
        async with trio.wrap_file(created) as file:
            async for piece in reader:
                await file.write(piece)
    except BaseException:
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - cancelled or not, at once
        raise
    return path


def safe_name(name: str) -> str:
    """Turn the name that a sender gave a file into one that is safe in a directory."""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(each for each in name if each.isprintable()).strip()
    path = Path(name)
    if name in ("", ".", ".."):
        return _NAMELESS
    suffix = _cut(path.suffix, _MAX_NAME_BYTES // 2)
    return _cut(path.stem, _MAX_NAME_BYTES - len(suffix.encode())) + suffix


def _create(directory: Path, name: str) -> BufferedWriter:
    for each in _names(name):
        # Exclusively: neither a file nor the target of a link is overwritten.
        with suppress(FileExistsError):
            return (directory / each).open("xb")
    raise AssertionError("numbers don't end")


def _names(name: str) -> Iterator[str]:
    yield name
    path = Path(name)
    for number in count(1):
        yield f"{path.stem}-{number}{path.suffix}"


def _cut(text: str, max_bytes: int) -> str:
    return text.encode()[:max_bytes].decode(errors="ignore")
