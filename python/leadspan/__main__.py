"""The command `leadspan`; also `python -m leadspan`."""

from __future__ import annotations

import os
import signal
import sys

if not __package__:
    # Run as a file, as commands that consist of other commands do: the folder of the package counts, not that in it.
    package = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [os.path.dirname(package)] + [folder for folder in sys.path if folder != package]


def main() -> None:
    """Runs the program with the arguments of this process, and ends the process with its exit code."""
    # The program stops by itself, with an exit code of its own, and not by a `KeyboardInterrupt`.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Not before: it takes long enough for a Ctrl-C.
    from leadspan._native import run

    sys.exit(run(["leadspan", *sys.argv[1:]], [sys.executable, os.path.abspath(__file__)]))


if __name__ == "__main__":
    main()
