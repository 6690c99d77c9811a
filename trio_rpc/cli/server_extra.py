"""The embedded server, which needs the extra `server`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from .exits import CommandError, ExitCode


def load_serve() -> Callable[..., Coroutine[Any, Any, None]]:
    """Return `trio_rpc.server.serve`.

    Raises:
        CommandError: the extra is not installed.
    """
    try:
        from ..server import serve
    except ModuleNotFoundError as error:
        if error.name != "starlette":
            raise
        raise CommandError(str(error), ExitCode.UNEXPECTED) from None
    return serve
