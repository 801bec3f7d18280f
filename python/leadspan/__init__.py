"""Leadspan: the program (`leadspan --help`) and a reader of its caches.

    >>> import leadspan
    >>> cache = leadspan.Cache("leadspan-quickstart/cache")
    >>> span = cache.read(0, proportion=0.5)
    >>> span.token_ids.shape

`leadspan.torch` has a data set for PyTorch and the loss.
"""

from ._cache import Cache, Sample, Samples, Span
from ._errors import LeadspanError, LeadspanIndexError, LeadspanOSError, LeadspanValueError
from ._native import __version__

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
