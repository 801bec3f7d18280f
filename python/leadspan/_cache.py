"""The reader of caches. What it reads comes from leadspan's own reader, with all its checks."""

from __future__ import annotations

import errno
import json
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from . import _native
from ._errors import LeadspanIndexError, LeadspanOSError, LeadspanValueError


@dataclass(frozen=True, eq=False)
class Span:
    """The kept tokens of a sample, and the teacher's distribution at each of its n positions, of at most k entries."""

    index: int
    """The sample's index in the cache."""
    tokens: NDArray[np.uint32]
    """The kept tokens."""
    positions: NDArray[np.uint32]
    """The supervised positions, ascending, `[n]`; position i predicts `tokens[i + 1]`."""
    token_ids: NDArray[np.uint32]
    """The token ids of the entries, most probable first, `[n, k]`; 0 behind the entries of a position."""
    logprobs: NDArray[np.float32]
    """Their natural log-probabilities, `[n, k]`; -inf behind the entries of a position."""
    lengths: NDArray[np.uint32]
    """The number of entries of each position, `[n]`."""
    tail_logprob: NDArray[np.float32]
    """The log of the probability outside the entries, `[n]`; -inf if they are the whole vocabulary."""
    target_logprob: NDArray[np.float32]
    """The log-probability of the token that follows, `[n]`."""
    temperatures: tuple[float, ...]
    """The temperatures other than 1 for which the cache stores tail terms."""
    temperature_tails: NDArray[np.float32]
    """log Σ exp(ℓ/τ) over the tokens outside the entries for each of these temperatures τ, `[n, t]`."""

    def __len__(self) -> int:
        """The number of positions."""
        return len(self.positions)

    def __repr__(self) -> str:
        return f"<leadspan.Span of sample {self.index}: {len(self.tokens)} tokens, {len(self)} positions>"


@dataclass(frozen=True)
class Sample:
    """A sample without its tokens."""

    index: int
    id: str
    """The id that its row states, or `FILE:LINE`."""
    split: str
    """`train` or `validation`."""
    sections: tuple[int, int, int]
    """Where its prompt, its chain of thought and its answer end, in tokens."""

    @property
    def length(self) -> int:
        """The number of its tokens."""
        return self.sections[2]


class Samples:
    """The samples of a cache, in the order of their indices. Lists and arrays are made when they are asked for."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._members = cache._members

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._cache,)

    def __len__(self) -> int:
        length: int = self._members["length"]
        return length

    def __getitem__(self, index: SupportsIndex) -> Sample:
        """The sample with this index; negative ones count from the end."""
        place = _place(index, len(self))
        return Sample(place, *self._members["sample"](place))

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    @property
    def ids(self) -> list[str]:
        """The ids: a new list."""
        ids: list[str] = self._members["ids"]()
        return ids

    @property
    def splits(self) -> list[str]:
        """`train` or `validation` for each sample: a new list."""
        splits = ["train"] * len(self)
        for index in self.of_split("validation").tolist():
            splits[index] = "validation"
        return splits

    @property
    def lengths(self) -> NDArray[np.uint32]:
        """The number of tokens of each sample, `[n]`."""
        return self.sections[:, 2].copy()

    @property
    def sections(self) -> NDArray[np.uint32]:
        """Where prompt, chain of thought and answer of each sample end, in tokens, `[n, 3]`."""
        return np.frombuffer(self._members["section_ends"](), np.uint32).reshape(len(self), 3)

    def of_split(self, split: str) -> NDArray[np.uint32]:
        """The indices of the samples of one split."""
        return np.frombuffer(self._members["of_split"](split), np.uint32)

    def __repr__(self) -> str:
        return f"<leadspan.Samples: {len(self)}>"


class Cache:
    """A cache opened for reading. Several threads may read at the same time, and none holds the interpreter's lock.

    With `allow_incomplete`, samples of work units that are not captured yet read as if they had no positions. What is captured
    later is seen by a cache that is opened then. A pickled cache is opened again, from the same path.
    """

    def __init__(self, path: str | bytes | os.PathLike[str], *, allow_incomplete: bool = False) -> None:
        given = os.fsdecode(path)
        self.path: str = os.path.join(os.getcwd(), given) if given else given
        """The folder, as an absolute path: the working folder may change."""
        self._allow_incomplete = allow_incomplete
        if given and not os.path.lexists(self.path):
            raise LeadspanOSError(f"there is no folder `{self.path}`", errno=errno.ENOENT)
        self._members = _native.open(self.path, allow_incomplete)
        self._identity: dict[str, Any] = json.loads(self._members["identity"])
        entries = self._identity["entries"]
        self.top_k: int = entries["top_k"]
        """The most entries that are stored of a position."""
        self.temperatures: tuple[float, ...] = tuple(float(np.float32(value)) for value in entries["temperatures"])
        """The temperatures other than 1 for which tail terms are stored."""

    def __len__(self) -> int:
        """The number of samples."""
        length: int = self._members["length"]
        return length

    @property
    def samples(self) -> Samples:
        """The samples, without their tokens."""
        return Samples(self)

    @property
    def identity(self) -> dict[str, Any]:
        """What the distributions mean: teacher, tokenizer and settings, as in `identity.json`."""
        return self._identity

    @property
    def tokenizer_dir(self) -> str:
        """The folder with the tokenizer's files."""
        folder: str = self._members["tokenizer_dir"]
        return folder

    def coverage(
        self, proportion: float | str | None = None, sections: Sequence[str] | str | None = None
    ) -> tuple[str, list[str]]:
        """The proportion and the sections that `read` reads for these arguments."""
        covered: tuple[str, list[str]] = self._members["coverage"](proportion, _names(sections))
        return covered

    def position_counts(
        self, proportion: float | str | None = None, sections: Sequence[str] | str | None = None
    ) -> NDArray[np.uint32]:
        """The number of positions that `read` reads of each sample. Reads no shard."""
        return np.frombuffer(self._members["position_counts"](proportion, _names(sections)), np.uint32)

    def read(
        self, index: SupportsIndex, proportion: float | str | None = None, sections: Sequence[str] | str | None = None
    ) -> Span:
        """Reads one sample: its kept tokens, and the teacher's distribution at each position.

        Of a training sample the first `proportion` of its tokens is kept, of a validation sample all of it. Only targets in
        `sections` (`prompt`, `chain_of_thought`, `answer`) have positions. Without a proportion it is the largest that the cache
        holds; without sections, those that reach the largest proportion.
        """
        return self.read_many([index], proportion, sections, threads=1)[0]

    def read_many(
        self,
        indices: Iterable[SupportsIndex],
        proportion: float | str | None = None,
        sections: Sequence[str] | str | None = None,
        *,
        threads: int | None = None,
    ) -> list[Span]:
        """Reads many samples as `read` does, on `threads` threads, by default one for each processor."""
        if threads is not None and threads < 1:
            raise LeadspanValueError(f"`threads` is {threads}, but it must be at least 1")
        places = [_place(index, len(self)) for index in indices]
        read = self._members["read_many"](places, threads or 0, (proportion, _names(sections)))
        return [self._span(**fields) for fields in read]

    def _span(self, index: int, **fields: bytearray) -> Span:
        floats = ("logprobs", "tail_logprob", "target_logprob", "temperature_tails")
        arrays: dict[str, Any] = {
            name: np.frombuffer(numbers, np.float32 if name in floats else np.uint32) for name, numbers in fields.items()
        }
        count = len(arrays["positions"])
        width = int(arrays["lengths"].max()) if count else 0
        for name, columns in [("token_ids", width), ("logprobs", width), ("temperature_tails", len(self.temperatures))]:
            arrays[name] = arrays[name].reshape(count, columns)
        return Span(index=index, temperatures=self.temperatures, **arrays)

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.path, self._allow_incomplete)

    def __repr__(self) -> str:
        return f"<leadspan.Cache `{self.path}`: {len(self)} samples>"


def _opened(path: str, allow_incomplete: bool) -> Cache:
    return Cache(path, allow_incomplete=allow_incomplete)


def _names(sections: Sequence[str] | str | None) -> list[str] | None:
    """The names of sections; a single text is one name."""
    if sections is None:
        return None
    return [sections] if isinstance(sections, str) else list(sections)


def _place(index: SupportsIndex, count: int) -> int:
    """An index from 0; a negative one counts from the end."""
    given = operator.index(index)
    place = given + count if given < 0 else given
    if not 0 <= place < count:
        raise LeadspanIndexError(f"there is no sample {given}: the corpus has {count}")
    return place
