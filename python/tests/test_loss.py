"""The loss on logits, against leadspan's own values, finite differences and a plain form in double precision."""

import json
import pathlib

import pytest

torch = pytest.importorskip("torch")

import leadspan
from leadspan.torch import distillation_loss, forward_kl

CASES = json.loads((pathlib.Path(__file__).parent / "objective.json").read_text())


def infinite(value):
    """JSON has no infinity."""
    return -torch.inf if value is None else value


def batch_of(case, **changes):
    """The batch of one sample whose rows are those of a case."""
    rows = case["positions"]
    width = max(len(row["token_ids"]) for row in rows)

    def filled(name, filler):
        return [row[name] + [filler] * (width - len(row[name])) for row in rows]

    return {
        "input_ids": torch.zeros(1, len(rows), dtype=torch.int64),
        "rows": torch.arange(len(rows)),
        "targets": torch.tensor(case["targets"]),
        "token_ids": torch.tensor(filled("token_ids", 0), dtype=torch.int32),
        "logprobs": torch.tensor(filled("logprobs", -torch.inf)),
        "lengths": torch.tensor([len(row["token_ids"]) for row in rows], dtype=torch.int32),
        "tail_logprob": torch.tensor([infinite(row["tail_logprob"]) for row in rows]),
        "temperature_tails": torch.tensor([[infinite(value) for value in row["temperature_tails"]] for row in rows]),
        "temperatures": torch.tensor(case["temperatures"]),
        **changes,
    }


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("whole", [True, False])
def test_loss_and_gradient_are_leadspans_own(case, whole):
    logits = torch.tensor(case["logits"])
    logits = (logits[None] if whole else logits).clone().requires_grad_()
    loss = distillation_loss(logits, batch_of(case), case["alpha"], case["temperature"])
    loss.backward()
    assert abs(loss.item() - case["loss"]) <= 1e-5 * max(1, case["loss"])
    difference = (logits.grad.reshape(len(case["logits"]), -1) - torch.tensor(case["gradient"])).abs().max()
    assert difference < 1e-6


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_a_plain_form_in_double_precision(case):
    logits = torch.tensor(case["logits"], dtype=torch.float64, requires_grad=True)
    expected = plain(logits, case)
    expected.backward()
    single = logits.detach().to(torch.float32).requires_grad_()
    found = distillation_loss(single, batch_of(case), case["alpha"], case["temperature"])
    found.backward()
    assert abs(found.item() - expected.item()) <= 1e-5 * max(1, expected.item())
    assert (single.grad - logits.grad).abs().max() < 1e-6


def plain(logits, case):
    """The objective row by row, as crates/README.md has it."""
    vocabulary, tau, alpha = logits.shape[1], case["temperature"], case["alpha"]
    losses = []
    for z, row, target in zip(logits, case["positions"], case["targets"]):
        tail = torch.tensor(infinite(row["tail_logprob"]), dtype=torch.float64)
        logprobs = torch.tensor(row["logprobs"], dtype=torch.float64)
        scale = torch.log((1 - tail.clamp(max=0).exp()) / logprobs.exp().sum())
        bucket = tail if tau == 1 else torch.tensor(infinite(row["temperature_tails"][0]), dtype=torch.float64)
        known = [place for place, token in enumerate(row["token_ids"]) if token < vocabulary]
        unknown = [place for place in range(len(logprobs)) if place not in known]
        scores = (logprobs + scale) / tau
        bucket = torch.logsumexp(torch.cat([bucket[None], scores[unknown]]), 0)
        if len(known) == vocabulary:
            bucket = torch.tensor(-torch.inf, dtype=torch.float64)
        log_p = torch.log_softmax(torch.cat([scores[known], bucket[None]]), 0)
        entries = [row["token_ids"][place] for place in known]
        others = [token for token in range(vocabulary) if token not in entries]
        log_q = torch.log_softmax(z / tau, 0)
        log_q = torch.cat([log_q[entries], torch.logsumexp(log_q[others], 0)[None]])
        some = log_p > -torch.inf
        divergence = (log_p[some].exp() * (log_p[some] - log_q[some])).sum()
        losses.append((1 - alpha) * -torch.log_softmax(z, 0)[target] + alpha * tau**2 * divergence)
    return torch.stack(losses).mean()


def test_a_row_worked_out_by_hand():
    # p: 1/2 and 1/4, and 1/4 in the bucket; q: 1/4 each, and 1/2 in the bucket of two tokens. KL = 1/2 ln 2 + 0 - 1/4 ln 2.
    case = {
        "positions": [{"token_ids": [2, 0], "logprobs": [-0.6931472, -1.3862944], "tail_logprob": -1.3862944,
                       "temperature_tails": []}],
        "targets": [1],
        "temperatures": [],
    }
    logits = torch.zeros(1, 4, requires_grad=True)
    loss = forward_kl(logits, batch_of(case))
    loss.backward()
    ln2 = 0.6931471805599453
    assert abs(loss.item() - 0.25 * ln2) < 1e-6
    # q - p for entries; the bucket's q - p = 1/4 in equal shares.
    torch.testing.assert_close(logits.grad, torch.tensor([[0.0, 0.125, -0.25, 0.125]]), atol=1e-6, rtol=0)
    halves = distillation_loss(logits.detach(), batch_of(case), 0.5)
    assert abs(halves.item() - 0.5 * (0.25 * ln2 + 2 * ln2)) < 1e-6


@pytest.mark.parametrize("case", CASES[:4])
def test_chunks_reductions_and_types_change_nothing_else(case, monkeypatch):
    batch, logits = batch_of(case), torch.tensor(case["logits"], requires_grad=True)
    weights = torch.linspace(0.5, 1.5, len(logits))

    def found():
        logits.grad = None
        losses = distillation_loss(logits, batch, case["alpha"], case["temperature"], "none")
        (losses * weights).sum().backward()
        return losses.detach(), logits.grad

    losses, gradient = found()
    total = distillation_loss(logits, batch, case["alpha"], case["temperature"], "sum")
    torch.testing.assert_close(total, losses.sum())
    monkeypatch.setattr("leadspan.torch._loss._CHUNK", 5 * logits.shape[1])
    again, gradient_again = found()
    assert torch.equal(losses, again) and torch.equal(gradient, gradient_again)
    half = logits.detach().to(torch.bfloat16).requires_grad_()
    distillation_loss(half, batch, case["alpha"], case["temperature"]).backward()
    assert half.grad.dtype == torch.bfloat16 and half.grad.isfinite().all()


def test_logits_of_a_whole_batch_are_taken_at_its_positions():
    case = CASES[0]
    rows, count = torch.tensor([1, 2, 4, 5, 6, 8, 10, 11, 12, 13, 14, 15]), 16
    whole = torch.randn(2, count // 2, len(case["logits"][0]))
    whole.reshape(count, -1)[rows] = torch.tensor(case["logits"])
    batch = batch_of(case, rows=rows, input_ids=torch.zeros(2, count // 2, dtype=torch.int64))
    whole.requires_grad_()
    loss = forward_kl(whole, batch)
    loss.backward()
    assert abs(loss.item() - case["loss"]) <= 1e-5
    gradient = whole.grad.reshape(count, -1)
    torch.testing.assert_close(gradient[rows], torch.tensor(case["gradient"]), atol=1e-6, rtol=0)
    others = [row for row in range(count) if row not in rows.tolist()]
    assert (gradient[others] == 0).all()


def test_what_does_not_fit_is_refused_in_words():
    case = CASES[0]
    logits = torch.tensor(case["logits"])
    with pytest.raises(leadspan.LeadspanValueError, match="fit neither the tokens \\(1, 12\\) of the batch nor its 12 positions"):
        forward_kl(logits[:5], batch_of(case))
    with pytest.raises(leadspan.LeadspanValueError, match="`temperature` is `3`, but the cache stores the tail only at") as refused:
        forward_kl(logits, batch_of(case), 3.0)
    assert "cache.temperatures = [3.0]" in refused.value.hint
    with pytest.raises(leadspan.LeadspanValueError, match="`max` is not a reduction"):
        forward_kl(logits, batch_of(case), reduction="max")
    with pytest.raises(leadspan.LeadspanValueError, match="token 35 follows a position, but the student's vocabulary has 20"):
        distillation_loss(logits[:, :20], batch_of(case))
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(leadspan.LeadspanValueError, match="it must be a number above 0"):
            forward_kl(logits, batch_of(case), temperature)
    with pytest.raises(leadspan.LeadspanValueError, match="have no tokens"):
        forward_kl(logits[:, :0], batch_of(case))


def test_the_divergence_alone_needs_no_target_that_the_student_has():
    case = CASES[0]
    batch = batch_of(case)
    assert int(batch["targets"].max()) == 35
    logits = torch.tensor(case["logits"])[:, :20].requires_grad_()
    forward_kl(logits, batch).backward()
    gradient, logits.grad = logits.grad, None
    forward_kl(logits, {**batch, "targets": torch.zeros_like(batch["targets"])}).backward()
    assert torch.equal(gradient, logits.grad) and gradient.isfinite().all() and gradient.abs().max() > 0


def test_a_batch_without_positions_has_no_loss():
    case = CASES[0]
    empty = {
        name: tensor if name in ("input_ids", "temperatures") else tensor[:0] for name, tensor in batch_of(case).items()
    }
    logits = torch.zeros(0, len(case["logits"][0]), requires_grad=True)
    loss = distillation_loss(logits, empty)
    loss.backward()
    assert loss.item() == 0.0 and logits.grad.shape == logits.shape
