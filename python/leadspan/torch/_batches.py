"""Samples as the tensors of a batch, padded or packed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

import leadspan

Batch: TypeAlias = dict[str, torch.Tensor]
"""A batch of B samples with together N positions of at most K entries. All tensors are on the CPU.

`input_ids`, `[B, T]` int64: the tokens that are fed, up to the last position of each sample; `[1, T]` if packed.
`attention_mask`, `[B, T]` int64: 1 for tokens and 0 for padding; only if padded.
`position_ids`, `[1, T]` int64: the place of each token in its sample; only if packed.
`rows`, `[N]` int64: where the positions lie in `input_ids`, and in the logits, as one row.
`targets`, `[N]` int64: the token that follows each position.
`token_ids`, `[N, K]` int32, `logprobs`, `[N, K]` float32, `lengths`, `[N]` int32, `tail_logprob`, `[N]` float32,
`target_logprob`, `[N]` float32, `temperature_tails`, `[N, t]` float32: as in `leadspan.Span`.
`temperatures`, `[t]` float32: the temperatures other than 1 for which there are tail terms.
`samples`, `[B]` int64: the indices of the samples in the cache.
"""


def collate(spans: Sequence[leadspan.Span], *, packed: bool = False, pad_token_id: int = 0) -> Batch:
    """Makes a batch of samples: the `collate_fn` of a `DataLoader`.

    Padded, every sample is a row of its own, filled up with `pad_token_id` on the right. With `packed`, all samples lie one
    behind the other in one row, and `position_ids` begin again at each: the model must not look from one into another, as
    transformers does not when it gets these `position_ids` and no mask.
    """
    if not spans:
        raise leadspan.LeadspanValueError("a batch must have at least one sample")
    if any(span.temperatures != spans[0].temperatures for span in spans):
        raise leadspan.LeadspanValueError("the samples of a batch have tail terms for other temperatures: they are of other caches")
    fed = [int(span.positions[-1]) + 1 if len(span) else 1 for span in spans]
    tokens = [span.tokens[:length].astype(np.int64) for span, length in zip(spans, fed)]
    width = max(fed)
    if packed:
        starts = [sum(fed[:place]) for place in range(len(fed))]
        shaped = {
            "input_ids": np.concatenate(tokens)[None],
            "position_ids": np.concatenate([np.arange(length) for length in fed])[None],
        }
    else:
        starts = [place * width for place in range(len(fed))]
        input_ids = np.full((len(fed), width), pad_token_id, np.int64)
        for row, of_sample in zip(input_ids, tokens):
            row[: len(of_sample)] = of_sample
        mask = np.arange(width)[None] < np.array(fed)[:, None]
        shaped = {"input_ids": input_ids, "attention_mask": mask.astype(np.int64)}
    entries = max(span.token_ids.shape[1] for span in spans)
    positions = [span.positions.astype(np.int64) for span in spans]
    arrays = {
        **shaped,
        "rows": np.concatenate([start + of_sample for start, of_sample in zip(starts, positions)]),
        "targets": np.concatenate([span.tokens[of_sample + 1] for span, of_sample in zip(spans, positions)]).astype(np.int64),
        "token_ids": _filled([span.token_ids for span in spans], entries, 0).astype(np.int32),
        "logprobs": _filled([span.logprobs for span in spans], entries, -np.inf),
        "lengths": np.concatenate([span.lengths for span in spans]).astype(np.int32),
        "tail_logprob": np.concatenate([span.tail_logprob for span in spans]),
        "target_logprob": np.concatenate([span.target_logprob for span in spans]),
        "temperature_tails": np.concatenate([span.temperature_tails for span in spans]),
        "temperatures": np.array(spans[0].temperatures, np.float32),
        "samples": np.array([span.index for span in spans], np.int64),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _filled(rectangles: Sequence[np.ndarray], width: int, filler: float) -> np.ndarray:
    """Rectangles one below the other, each filled up on the right."""
    if all(rectangle.shape[1] == width for rectangle in rectangles):
        return np.concatenate(rectangles)
    filled = [np.pad(one, ((0, 0), (0, width - one.shape[1])), constant_values=filler) for one in rectangles]
    return np.concatenate(filled)
