"""What the commands log, on stderr: warnings in one line each, or everything when asked to."""

from __future__ import annotations

import logging

_VERBOSE_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class _OneLineFormatter(logging.Formatter):
    """A message without the traceback; the exception's own text stays."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        return f"trio-rpc: {' '.join(text.split())}"


def configure_logging(*, verbose: bool) -> None:
    """Say what is logged, and how.

    Args:
        verbose: All that trio_rpc does, with times and tracebacks; else warnings only.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_VERBOSE_FORMAT) if verbose else _OneLineFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO if verbose else logging.WARNING)
    logging.getLogger("trio_rpc").setLevel(logging.DEBUG if verbose else logging.NOTSET)
