"""The context of handlers, by which the calls that they make know of them (C3)."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

#: Whether the running task is a handler's, or was started by one. A session sets it for its tasks.
IN_HANDLER: Final = ContextVar("trio_rpc_in_handler", default=False)
