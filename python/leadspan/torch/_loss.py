"""The objective of leadspan on logits: (1 - α)·CE + α·τ²·D, D being the forward KL with a bucket for all other tokens.

As crates/README.md ("The objective") defines it. No tensor of the size of the logits is made but their gradient: rows go
through in chunks, and the student's probability of the bucket comes from its own tokens, log q_tail = lse_{u∉K} z_u/τ - lse z/τ,
not from 1 - Σ q, which loses all digits when the entries have almost all of the probability.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import leadspan

from ._batches import Batch

# Logits of one chunk, in single precision: 64 MiB.
_CHUNK = 16 << 20


def forward_kl(logits: Tensor, batch: Batch, temperature: float = 1.0, reduction: str = "mean") -> Tensor:
    """τ²·KL(teacher ‖ student) at the positions of a batch, over the stored entries and one bucket for all other tokens.

    `logits` are those of the whole batch, `[B, T, V]`, or of its positions alone, `[N, V]`, in the order of `batch["rows"]`.
    `reduction` is `mean` over the positions (0 if there are none), `sum`, or `none` for the value of each position, `[N]` float32.

    Entries that the student's vocabulary lacks move to the bucket. A temperature other than 1 must be one of
    `batch["temperatures"]`, because the bucket needs a term that was stored at capture.
    """
    return distillation_loss(logits, batch, 1.0, temperature, reduction)


def distillation_loss(
    logits: Tensor,
    batch: Batch,
    distillation_weight: float = 0.5,
    temperature: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """(1 - α)·CE + α·τ²·D: cross-entropy with the tokens that follow, at temperature 1, and `forward_kl`.

    α is `distillation_weight`; the other arguments are those of `forward_kl`. With `train.loss = "forward_kl"` and
    `train.normalization = "token"`, the mean is leadspan's own loss.
    """
    if reduction not in ("mean", "sum", "none"):
        raise leadspan.LeadspanValueError(f"`{reduction}` is not a reduction: expected `mean`, `sum` or `none`")
    if not 0.0 <= distillation_weight <= 1.0:
        raise leadspan.LeadspanValueError(f"`distillation_weight` is `{distillation_weight}`, but it must be from 0 to 1")
    if not (0.0 < temperature and math.isfinite(temperature)):
        raise leadspan.LeadspanValueError(f"`temperature` is `{temperature}`, but it must be a number above 0")
    rows, flat = _rows(logits, batch)
    if not flat.shape[1]:
        raise leadspan.LeadspanValueError(f"logits of shape {tuple(logits.shape)} have no tokens")
    teacher = _Teacher(batch, flat, temperature)
    targets = batch["targets"].to(flat.device)
    if distillation_weight == 1.0:
        # What follows is not looked at, and may be a token that the student lacks.
        targets = targets.clamp(max=flat.shape[1] - 1)
    elif len(targets) and int(targets.max()) >= flat.shape[1]:
        raise leadspan.LeadspanValueError(
            f"token {int(targets.max())} follows a position, but the student's vocabulary has {flat.shape[1]} tokens"
        )
    losses: Tensor = _Objective.apply(flat, rows, targets, teacher, distillation_weight, teacher.temperature)
    if reduction == "none":
        return losses
    total = losses.sum()
    return total / max(len(losses), 1) if reduction == "mean" else total


def _rows(logits: Tensor, batch: Batch) -> tuple[Tensor | None, Tensor]:
    """Where the positions are among the rows of the logits, None if those are all of them, and the logits as rows."""
    count = len(batch["rows"])
    if logits.dim() == 3 and logits.shape[:2] == batch["input_ids"].shape:
        return batch["rows"].to(logits.device), logits.reshape(-1, logits.shape[-1])
    if logits.dim() == 2 and len(logits) == count:
        return None, logits
    tokens = tuple(batch["input_ids"].shape)
    raise leadspan.LeadspanValueError(
        f"logits of shape {tuple(logits.shape)} fit neither the tokens {tokens} of the batch nor its {count} positions"
    )


class _Teacher:
    """The teacher's probabilities of the outcomes: the entries that the student knows, and the bucket."""

    def __init__(self, batch: Batch, logits: Tensor, temperature: float) -> None:
        device, vocabulary = logits.device, logits.shape[1]
        # Outcomes are few, so that they are in double precision where there is one.
        self.wide = torch.float32 if device.type == "mps" else torch.float64
        wide = {name: batch[name].to(device, self.wide) for name in ("logprobs", "tail_logprob")}
        token_ids = batch["token_ids"].to(device, torch.int64)
        present = torch.arange(token_ids.shape[1], device=device) < batch["lengths"].to(device)[:, None]
        known = present & (token_ids < vocabulary)
        logprobs, tail = wide["logprobs"].masked_fill(~present, -torch.inf), wide["tail_logprob"]
        # Stored values are rounded: entries are scaled so that they and the tail sum to one.
        outside_tail = torch.log(-torch.expm1(tail.clamp(max=0.0)))
        scores = logprobs + (outside_tail - logprobs.exp().sum(1).log())[:, None]
        self.temperature = 1.0
        bucket = tail
        if temperature != 1.0:
            self.temperature, term = _declared(batch, temperature)
            bucket = batch["temperature_tails"][:, term].to(device, self.wide)
        scores = scores / self.temperature
        moved = scores.masked_fill(known | ~present, -torch.inf)
        if moved.shape[1]:
            bucket = torch.logaddexp(bucket, moved.logsumexp(1))
        # The entries may be all of the student's tokens: then no token is left for the bucket.
        bucket = bucket.masked_fill(known.sum(1) == vocabulary, -torch.inf)
        outcomes = torch.cat([scores.masked_fill(~known, -torch.inf), bucket[:, None]], 1)
        self.log_p = outcomes - outcomes.logsumexp(1, keepdim=True)
        # Places without an entry repeat a token that has one, if there is any.
        self.any_known = known.any(1)
        if token_ids.shape[1]:
            first = token_ids.gather(1, known.to(torch.int8).argmax(1, keepdim=True))
            token_ids = torch.where(known, token_ids, first.masked_fill(~self.any_known[:, None], 0))
        self.token_ids, self.known = token_ids, known

    def of(self, chunk: slice) -> tuple[Tensor, Tensor, Tensor]:
        """The entries of some rows: their tokens, which places have one, and whether any has."""
        return self.token_ids[chunk], self.known[chunk], self.any_known[chunk]


def _declared(batch: Batch, temperature: float) -> tuple[float, int]:
    """A temperature as the cache has it, and the number of its tail term."""
    declared = batch["temperatures"].tolist()
    asked = torch.tensor(temperature, dtype=torch.float32).item()
    if asked in declared:
        return asked, declared.index(asked)
    known = "temperature 1" if not declared else "temperatures " + ", ".join(f"{value:g}" for value in [1, *declared])
    raise leadspan.LeadspanValueError(
        f"`temperature` is `{temperature:g}`, but the cache stores the tail only at {known}",
        f"capture with `cache.temperatures = [{temperature}]`, or use one of these temperatures",
    )


class _Objective(torch.autograd.Function):
    """The loss of each row; its gradient with respect to the logits is made chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        rows: Tensor | None,
        targets: Tensor,
        teacher: _Teacher,
        alpha: float,
        temperature: float,
    ) -> Tensor:
        count = len(targets)
        losses = torch.empty(count, dtype=torch.float32, device=logits.device)
        saved = []
        for chunk in _chunks(count, logits.shape[1]):
            z, largest = _chunk(logits, rows, chunk)
            token_ids, known, any_known = teacher.of(chunk)
            entries = z.gather(1, token_ids).to(teacher.wide).masked_fill(~known, -torch.inf)
            target = z.gather(1, targets[chunk, None]).to(teacher.wide)
            # What remains without the entries is the tail.
            _put(z, token_ids, any_known, torch.full_like(entries, -torch.inf, dtype=z.dtype))
            tail = z.logsumexp(1, keepdim=True).to(teacher.wide)
            at_one = torch.cat([entries, tail], 1)
            log_sum_exp = at_one.logsumexp(1, keepdim=True)
            scores, scaled_tail = at_one, tail
            if temperature != 1.0:
                scaled_tail = (z / temperature).logsumexp(1, keepdim=True).to(teacher.wide)
                scores = torch.cat([entries / temperature, scaled_tail], 1)
            log_q = scores - scores.logsumexp(1, keepdim=True)
            log_p = teacher.log_p[chunk]
            p = log_p.exp()
            divergence = torch.where(p > 0, p * (log_p - log_q), 0.0).sum(1)
            cross_entropy = (log_sum_exp - target)[:, 0]
            losses[chunk] = _weighed(1.0 - alpha, cross_entropy) + _weighed(alpha * temperature**2, divergence)
            # The gradient with respect to the scores, of D times α·τ, and of CE.
            slopes = (log_q.exp() - p) * (alpha * temperature)
            hard = (at_one - log_sum_exp).exp() * (1.0 - alpha)
            saved.append((largest, tail, scaled_tail, slopes, hard))
        ctx.teacher, ctx.alpha, ctx.temperature = teacher, alpha, temperature
        ctx.save_for_backward(logits, rows, targets, *(torch.cat(parts) for parts in zip(*saved)))
        return losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor | None, ...]:
        logits, rows, targets, *saved = ctx.saved_tensors
        teacher, temperature = ctx.teacher, ctx.temperature
        gradient = torch.zeros_like(logits)
        if not saved:
            return (gradient, *[None] * 5)
        for chunk in _chunks(len(targets), logits.shape[1]):
            largest, tail, scaled_tail, slopes, hard = (part[chunk] for part in saved)
            z, _ = _chunk(logits, rows, chunk, largest)
            # A tail without tokens has no share to give.
            at_one = hard[:, -1:] + (slopes[:, -1:] if temperature == 1.0 else 0.0)
            shares = _share(z, tail, at_one)
            if temperature != 1.0:
                shares += _share(z / temperature, scaled_tail, slopes[:, -1:])
            token_ids, known, any_known = teacher.of(chunk)
            _put(shares, token_ids, any_known, _repeated((slopes + hard)[:, :-1], known).to(shares.dtype))
            shares.scatter_add_(1, targets[chunk, None], torch.full_like(shares[:, :1], ctx.alpha - 1.0))
            shares *= weights[chunk, None]
            if rows is None:
                gradient[chunk] = shares.to(logits.dtype)
            else:
                gradient.index_copy_(0, rows[chunk], shares.to(logits.dtype))
        return (gradient, *[None] * 5)


def _chunks(count: int, vocabulary: int) -> list[slice]:
    size = max(1, _CHUNK // vocabulary)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _chunk(logits: Tensor, rows: Tensor | None, chunk: slice, largest: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A copy of some rows in single precision, less the largest logit of each."""
    if rows is None:
        z = logits[chunk].to(torch.float32, copy=True)
    else:
        z = logits.index_select(0, rows[chunk]).to(torch.float32)
    if largest is None:
        largest = z.amax(1, keepdim=True)
    z -= largest
    return z, largest


def _put(values: Tensor, token_ids: Tensor, any_known: Tensor, entries: Tensor) -> None:
    """Sets the entries' tokens of each row; rows without entries stay."""
    if token_ids.shape[1]:
        values.scatter_(1, token_ids, torch.where(any_known[:, None], entries, values.gather(1, token_ids)))


def _repeated(entries: Tensor, known: Tensor) -> Tensor:
    """The values of entries, with that of the first one at places without an entry: they repeat its token."""
    if not entries.shape[1]:
        return entries
    first = entries.gather(1, known.to(torch.int8).argmax(1, keepdim=True))
    return torch.where(known, entries, first)


def _share(z: Tensor, tail: Tensor, slope: Tensor) -> Tensor:
    """What the tokens of a tail get of its slope: each as much as it has of the tail's probability."""
    empty = tail == -torch.inf
    exponents = (z - tail.masked_fill(empty, 0.0).to(z.dtype)).clamp_(max=0.0)
    return exponents.exp_().mul_(slope.masked_fill(empty, 0.0).to(z.dtype))


def _weighed(weight: float, losses: Tensor) -> Tensor:
    """A part with weight 0 is ignored, even if it is infinite."""
    return losses * weight if weight else torch.zeros_like(losses)
