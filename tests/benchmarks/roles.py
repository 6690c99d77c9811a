"""One process of a contestant: `python -m tests.benchmarks.roles MODULE ROLE OPTIONS [ADDRESS]`.

The role is a function of a module of this package, and the options are its arguments, in JSON. It
is told of rounds by its standard input, and answers on its standard output; what libraries print
goes to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from importlib import import_module
from typing import Final

from .contestants.base import Control, MissingError

_PR_SET_PDEATHSIG: Final = 1


def main(module: str, role: str, options: str, address: str = "") -> None:
    """Run one role to its end."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    end_with_parent()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    control = Control(address, output)
    try:
        run = getattr(import_module(f".{module}", __package__), role)
        run(control, **json.loads(options))
    except ImportError as error:
        control.send(missing=f"{error.name} is not installed")
    except MissingError as error:
        control.send(missing=str(error))


def end_with_parent() -> None:
    """Be ended by the kernel if the process that measures is killed; holds after `exec` as well."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
