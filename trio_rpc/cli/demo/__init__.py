"""`trio-rpc demo`: a play of two participants, to see calls happen.

* `command`: the command. `participant`: a participant, as a process of its own.
* `scenes`: the play. `output`: its looks.
"""

from .command import add_parser

__all__ = ["add_parser"]
