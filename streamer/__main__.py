"""`python -m streamer`."""

import sys

from streamer.cli.command_line import main

if __name__ == "__main__":
    sys.exit(main())
