"""The log of the commands, on stderr: warnings in one line each, or everything on request."""

from __future__ import annotations

import logging

_VERBOSE_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class _OneLineFormatter(logging.Formatter):
    """A formatter that leaves out tracebacks, and keeps the text of exceptions."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        return f"trio-rpc: {' '.join(text.split())}"


def configure_logging(*, verbose: bool) -> None:
    """Configure the log.

    Args:
        verbose: Whether to log everything, with times and tracebacks; otherwise warnings only.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_VERBOSE_FORMAT) if verbose else _OneLineFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO if verbose else logging.WARNING)
    logging.getLogger("trio_rpc").setLevel(logging.DEBUG if verbose else logging.NOTSET)
