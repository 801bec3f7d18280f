"""Leadspan: the program (`leadspan --help`) and a reader of its caches.

    >>> import leadspan
    >>> cache = leadspan.Cache("leadspan-quickstart/cache")
    >>> span = cache.read(0, proportion=0.5)
    >>> span.token_ids.shape

`leadspan.torch` has a data set for PyTorch and the loss.
"""

from typing import TYPE_CHECKING, Any

from ._errors import LeadspanError, LeadspanIndexError, LeadspanOSError, LeadspanValueError
from ._native import __version__

if TYPE_CHECKING:
    from ._cache import Cache, Sample, Samples, Span

__all__ = [
    "Cache",
    "LeadspanError",
    "LeadspanIndexError",
    "LeadspanOSError",
    "LeadspanValueError",
    "Sample",
    "Samples",
    "Span",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """The reader, when it is first asked for: the program is there sooner without numpy."""
    if name in __all__:
        from . import _cache

        return getattr(_cache, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
