"""`python -m trio_rpc` is the command line `trio-rpc`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
