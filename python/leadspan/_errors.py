"""The exceptions. Their texts are those of the program."""

from __future__ import annotations


class LeadspanError(Exception):
    """An error of leadspan. `hint` says how to mend it, if that is known."""

    hint: str | None

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.args[0]}\nhint: {self.hint}" if self.hint else str(self.args[0])


class LeadspanValueError(LeadspanError, ValueError):
    """A file or an argument is not what it must be."""


class LeadspanIndexError(LeadspanError, IndexError):
    """There is no such sample."""


class LeadspanOSError(LeadspanError, OSError):
    """The file system refused; `errno` has its number."""

    def __init__(self, message: str, hint: str | None = None, errno: int | None = None) -> None:
        super().__init__(message, hint)
        self.errno = errno

    def __reduce__(self) -> tuple[type[LeadspanOSError], tuple[str, str | None, int | None]]:
        return type(self), (self.args[0], self.hint, self.errno)
