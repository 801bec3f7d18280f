"""The extension module, which only this package uses."""

from collections.abc import Sequence
from typing import Any

__version__: str

def run(arguments: Sequence[str], start: Sequence[str]) -> int:
    """Runs the program with `arguments`, of which the first is its name, and returns its exit code.

    `start` is a program with its first arguments that starts this program again. A process calls this once and then ends.
    """

def open(path: str, allow_incomplete: bool) -> dict[str, Any]:
    """Opens a cache: its values and functions, by name."""
