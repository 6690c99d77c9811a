"""The embedded server, which needs the extra `server`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from .exits import CommandError, ExitCode


def load_serve() -> Callable[..., Coroutine[Any, Any, None]]:
    """`trio_rpc.server.serve.serve`.

    Raises:
        CommandError: the extra is not installed.
    """
    try:
        from ..server.serve import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "starlette":
            raise
        raise CommandError(
            "Starlette is missing, which the server needs: pip install 'trio-rpc[server]'",
            ExitCode.UNEXPECTED,
        ) from None
    return serve
