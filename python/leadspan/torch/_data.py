"""The samples of a cache as a data set, and a sampler that goes on where a run stopped."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch.utils.data

import leadspan


class Dataset(torch.utils.data.Dataset[leadspan.Span]):
    """The samples of one split that have positions, read when they are asked for.

    `proportion` and `sections` are those of `leadspan.Cache.read`. `split` is `train`, `validation`, or None for both. Item i
    is sample `indices[i]` of the cache. A pickled data set opens the cache again, so that it works in the workers of a
    `DataLoader`, whether they are forked or spawned.
    """

    def __init__(
        self,
        cache: leadspan.Cache | str | bytes | os.PathLike[str],
        proportion: float | str | None = None,
        sections: Sequence[str] | str | None = None,
        split: str | None = "train",
    ) -> None:
        self.cache = cache if isinstance(cache, leadspan.Cache) else leadspan.Cache(cache)
        self.proportion = proportion
        self.sections = sections if sections is None or isinstance(sections, str) else list(sections)
        counts = self.cache.position_counts(self.proportion, self.sections)
        has_positions = counts > 0
        if split is not None:
            of_split = self.cache.samples.of_split(split)
            self.indices = of_split[has_positions[of_split]]
        else:
            self.indices = has_positions.nonzero()[0]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> leadspan.Span:
        return self.cache.read(int(self.indices[item]), self.proportion, self.sections)

    def __getitems__(self, items: Sequence[int]) -> list[leadspan.Span]:
        """Several items at once, as a `DataLoader` asks for them: in parallel, unless workers are."""
        threads = 1 if torch.utils.data.get_worker_info() is not None else None
        indices = self.indices[list(items)].tolist()
        return self.cache.read_many(indices, self.proportion, self.sections, threads=threads)


class Resumed(torch.utils.data.Sampler[int]):
    """The order of another sampler without its first `done` samples; from its second pass on, the whole order.

    The order must depend on nothing but seed and epoch, as that of a `DistributedSampler` does, which also serves a single
    process (`num_replicas=1, rank=0`). After `steps` steps of `batch_size` samples in each process:

        epoch, done = divmod(steps * batch_size, len(sampler))
        sampler.set_epoch(epoch)
        loader = DataLoader(dataset, batch_size, sampler=Resumed(sampler, done), collate_fn=collate)

    Nothing is read of the samples that are passed over. Call `set_epoch` before every further pass.
    """

    def __init__(self, sampler: Any, done: int) -> None:
        if not 0 <= done <= len(sampler):
            raise leadspan.LeadspanValueError(f"{done} samples cannot be done of {len(sampler)}")
        self.sampler = sampler
        self.done = done

    def __iter__(self) -> Iterator[int]:
        done, self.done = self.done, 0
        return itertools.islice(iter(self.sampler), done, None)

    def __len__(self) -> int:
        return len(self.sampler) - self.done

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the other sampler."""
        self.sampler.set_epoch(epoch)
