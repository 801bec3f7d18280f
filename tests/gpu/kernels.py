"""Every kernel against float64 on ragged shapes, and its time: the first parts of a run on a GPU.

Prints JSON lines. Outputs are poisoned with NaN before each launch. With --few only the smallest shapes are run, once, for
compute-sanitizer, and nothing is timed.
"""

import argparse
import math
import sys
from pathlib import Path

import torch
from attention import attention
from checks import BF16, F32, F64, GPU, I32, check, normal, poisoned, say, wrong
from driver import AGREEMENT, Double, Driver, Long, milliseconds, read_agreement, relative, structure, up

def selection(driver: Driver, few: bool) -> None:
    """The k largest of rows of logits, the sum over the others, and the target."""
    rows, vocabulary, k, room = (4, 5003, 64, 8192) if few else (883, 151_936, 64, 8192)
    logits = torch.randn(rows, vocabulary, device=GPU) * 4
    targets = torch.randint(vocabulary, (rows,), device=GPU, dtype=I32)
    tau = torch.ones(1, device=GPU)
    ids, values = torch.full((rows, k), -1, dtype=I32, device=GPU), poisoned(rows, k, dtype=F32)
    others, of_targets = poisoned(rows, 1, dtype=F64), poisoned(rows, dtype=F32)
    bad = torch.full((rows,), 7, dtype=I32, device=GPU)

    def run() -> None:
        driver.launch(
            "selection", "select_rows_0", (rows, 1), AGREEMENT["SELECTION_THREADS"],
            AGREEMENT[f"selection_shared_bytes({room})"], logits, Long(vocabulary), vocabulary, k, room, targets, tau,
            ids, values, others, of_targets, bad,
        )

    run()
    top = logits.topk(k)
    rest = logits.double().scatter(1, top.indices, -math.inf).logsumexp(1)
    check("select_rows", "values", relative(values, top.values), 0.0)
    check("select_rows", "others", float((others[:, 0] - rest).abs().max()), 1e-5)
    check("select_rows", "ids", float((logits.gather(1, ids.long().clamp(0, vocabulary - 1)) != top.values).sum() + (bad != -1).sum()), 0.0)
    if not few:
        time = milliseconds(run)
        say(part="speed", kernel="select_rows", variant=f"{rows} rows of 152 k", ms=time, tbps=4 * rows * vocabulary / time / 1e9)


def norm(driver: Driver, few: bool) -> None:
    """The normalisation of rows, and its gradients."""
    rows, width, block_rows, eps = (70, 64, 32, 1e-6) if few else (16384, 2048, 32, 1e-6)
    x, weight, gradient = normal(rows, width), normal(width), normal(rows, width)
    y, dx = poisoned(rows, width), poisoned(rows, width)
    blocks = up(rows, block_rows)
    parts, sums = poisoned(blocks, width, dtype=F32), torch.zeros(width, device=GPU)

    def forward() -> None:
        driver.launch("norm", "rms_norm_bf16", (rows, 1), AGREEMENT["NORM_THREADS"], AGREEMENT["NORM_SHARED_BYTES"], x, None, weight, eps, width, y)

    def backward() -> None:
        shared = AGREEMENT["NORM_SHARED_BYTES"] + 4 * width
        driver.launch(
            "norm", "rms_norm_backward_bf16", (blocks, 1), AGREEMENT["NORM_THREADS"], shared,
            x, gradient, weight, eps, rows, width, block_rows, 0, dx, parts,
        )
        driver.launch(
            "norm", "column_sums", (up(width, AGREEMENT["COLUMN_SUM_COLUMNS"]), 1), AGREEMENT["COLUMN_SUM_THREADS"],
            AGREEMENT["COLUMN_SUM_SHARED_BYTES"], parts, blocks, width, sums,
        )

    forward(), backward()
    a, w = x.double().requires_grad_(), weight.double().requires_grad_()
    right = a * (a.square().mean(-1, keepdim=True) + eps).rsqrt() * w
    of_x, of_weight = torch.autograd.grad(right, [a, w], gradient.double())
    check("rms_norm", "", relative(y, right), 3e-3)
    check("rms_norm_backward", "x", relative(dx, of_x), 3e-3)
    check("rms_norm_backward", "weight", relative(sums, of_weight), 1e-4)
    if not few:
        say(part="speed", kernel="rms_norm", variant="16384 x 2048", ms=(time := milliseconds(forward)), tbps=4 * rows * width / time / 1e9)
        say(part="speed", kernel="rms_norm_backward", variant="16384 x 2048", ms=(time := milliseconds(backward)), tbps=6 * rows * width / time / 1e9)


def swiglu(driver: Driver, few: bool) -> None:
    """The gated nonlinearity, and its gradient."""
    rows, width = (5, 72) if few else (16384, 6144)
    x, gradient = normal(rows, 2 * width), normal(rows, width)
    y, dx = poisoned(rows, width), poisoned(rows, 2 * width)
    grid, threads = (rows, up(width, AGREEMENT["SWIGLU_COLUMNS"])), AGREEMENT["SWIGLU_THREADS"]
    forward = lambda: driver.launch("swiglu", "swiglu_bf16", grid, threads, 0, x, width, y)  # noqa: E731
    backward = lambda: driver.launch("swiglu", "swiglu_backward_bf16", grid, threads, 0, x, gradient, width, dx, None)  # noqa: E731
    forward(), backward()
    a = x[:4096].double().requires_grad_()
    right = torch.nn.functional.silu(a[:, :width]) * a[:, width:]
    (of_x,) = torch.autograd.grad(right, a, gradient[:4096].double())
    check("swiglu", "", relative(y[:4096], right), 3e-3)
    check("swiglu_backward", "", relative(dx[:4096], of_x), 3e-3)
    check("swiglu", "every element", float(y.isnan().sum() + dx.isnan().sum()), 0.0)
    if not few:
        say(part="speed", kernel="swiglu", variant="16384 x 6144", ms=(time := milliseconds(forward)), tbps=6 * rows * width / time / 1e9)
        say(part="speed", kernel="swiglu_backward", variant="16384 x 6144", ms=(time := milliseconds(backward)), tbps=10 * rows * width / time / 1e9)


def rotary(driver: Driver, few: bool) -> None:
    """The rotation of query and key heads with their norms, and its gradients."""
    rows, heads, key_heads, width, eps = (70, 4, 2, 64, 1e-6) if few else (16384, 16, 8, 128, 1e-6)
    stride, block_rows = (heads + 2 * key_heads) * width, 32
    rotating = (heads + key_heads) * width
    x, gradient = normal(rows, stride), normal(rows, rotating)
    weights = normal(width), normal(width)
    positions = torch.randint(4096, (rows,), device=GPU, dtype=I32)
    angles = torch.arange(4096, device=GPU, dtype=F64)[:, None] * 1e6 ** (-torch.arange(width // 2, device=GPU, dtype=F64) * 2 / width)
    cosines, sines = angles.cos().float(), angles.sin().float()
    y, dx = poisoned(rows, rotating), gradient.clone()
    blocks = up(rows, block_rows)
    parts, sums = poisoned(blocks, 2 * width, dtype=F32), torch.zeros(2 * width, device=GPU)
    threads = AGREEMENT["ROTARY_THREADS"]

    def forward() -> None:
        driver.launch(
            "rotary", f"head_norm_rotary_bf16_{width}", (rows, 1), threads, 0, x, Long(stride), y, Long(rotating), heads, key_heads,
            positions, cosines, sines, 1.0, *weights, eps,
        )

    def backward() -> None:
        driver.launch(
            "rotary", f"head_norm_rotary_backward_bf16_{width}", (blocks, 1), threads,
            AGREEMENT[f"rotary_backward.shared_bytes({width})"], x, Long(stride), dx, Long(rotating), rows, heads, key_heads,
            positions, cosines, sines, *weights, eps, block_rows, parts,
        )
        driver.launch(
            "norm", "column_sums", (up(2 * width, AGREEMENT["COLUMN_SUM_COLUMNS"]), 1), AGREEMENT["COLUMN_SUM_THREADS"],
            AGREEMENT["COLUMN_SUM_SHARED_BYTES"], parts, blocks, 2 * width, sums,
        )

    forward(), backward()
    a = x[:, :rotating].double().requires_grad_()
    w = [weight.double().requires_grad_() for weight in weights]
    each = a.view(rows, heads + key_heads, width)
    of_heads = torch.cat([w[0].expand(heads, width), w[1].expand(key_heads, width)])
    normed = each * (each.square().mean(-1, keepdim=True) + eps).rsqrt() * of_heads
    cos, sin = (table[positions.long()][:, None].double() for table in (cosines, sines))
    one, two = normed.chunk(2, -1)
    right = torch.cat([one * cos - two * sin, two * cos + one * sin], -1).view(rows, rotating)
    of_x, *of_weights = torch.autograd.grad(right, [a, *w], gradient.double())
    check("head_norm_rotary", "", relative(y, right), 3e-3)
    check("head_norm_rotary_backward", "x", relative(dx, of_x), 4e-3)
    check("head_norm_rotary_backward", "weights", relative(sums, torch.cat(of_weights)), 1e-4)
    if not few:
        moved = rows * rotating / 1e9
        say(part="speed", kernel="head_norm_rotary", variant="16384 x 24 x 128", ms=(time := milliseconds(forward)), tbps=4 * moved / time)
        say(part="speed", kernel="head_norm_rotary_backward", variant="16384 x 24 x 128", ms=(time := milliseconds(backward)), tbps=6 * moved / time)


def embedding(driver: Driver, few: bool) -> None:
    """The gradient of an embedding, added to what is there."""
    rows, width, vocabulary = (70, 64, 40) if few else (16384, 2048, 151_936)
    gradient, tokens = normal(rows, width), torch.randint(vocabulary, (rows,), device=GPU)
    sums = torch.randn(vocabulary, width, device=GPU)
    right = sums.double().index_add(0, tokens, gradient.double())
    distinct, counts = tokens.unique(return_counts=True)
    places = tokens.argsort(stable=True).to(I32)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(I32)
    grid = (len(distinct), up(width, AGREEMENT["EMBEDDING_COLUMNS"]))

    def run() -> None:
        driver.launch(
            "embedding", "embedding_backward_bf16", grid, AGREEMENT["EMBEDDING_THREADS"], 0, gradient, distinct.to(I32), starts,
            places, width, sums,
        )

    run()
    check("embedding_backward", "", relative(sums, right), 1e-6)
    if not few:
        time = milliseconds(run)
        moved = (2 * rows + 8 * len(distinct)) * width / 1e9
        say(part="speed", kernel="embedding_backward", variant="16384 x 2048", ms=time, tbps=moved / time)


def objective(driver: Driver, few: bool) -> None:
    """Forward KL and cross-entropy with a bucket, in place."""
    rows, vocabulary, k = (3, 1003, 16) if few else (883, 151_936, 64)
    stride = up(vocabulary, 8) * 8
    logits = torch.randn(rows, stride, device=GPU) * 3
    before = logits.clone()
    ids = torch.stack([torch.randperm(vocabulary, device=GPU)[:k] for _ in range(rows)]).to(I32)
    teacher = torch.randn(rows, k + 1, device=GPU, dtype=F64).log_softmax(-1)
    targets = torch.randint(vocabulary, (rows,), device=GPU, dtype=I32)
    weights = torch.full((rows,), 1 / rows, device=GPU)
    offsets = torch.arange(rows + 1, device=GPU, dtype=I32) * k
    losses = poisoned(rows, AGREEMENT["ROW_LOSSES"], dtype=F64)
    supervised = structure("SupervisedRows", targets=targets, weights=weights, offsets=offsets, token_ids=ids, measured=teacher)
    alpha = 0.5
    learnt = structure("Objective", loss=AGREEMENT["ForwardKl"], on_entries_alone=0, temperature=Double(1), alpha=Double(alpha))
    warps = AGREEMENT["OBJECTIVE_THREADS"] // 32
    shared = ((k + 1) * 3 + 2 + 4 * warps) * 8 + (k + 2 * warps + 2) * 4

    def run() -> None:
        driver.launch(
            "objective", "objective_bf16", (rows, 1), AGREEMENT["OBJECTIVE_THREADS"], shared, logits, Long(stride), logits,
            Long(2 * stride), vocabulary, 0, supervised, learnt, k, 0, losses,
        )

    run()
    found = logits.view(BF16).view(rows, 2 * stride)[:, :vocabulary]
    errors = []
    for first in range(0, rows, 100):
        part = slice(first, min(first + 100, rows))
        z = before[part, :vocabulary].double().requires_grad_()
        log_q = z.log_softmax(-1)
        entries = log_q.gather(1, ids[part].long())
        tail = log_q.scatter(1, ids[part].long(), -math.inf).logsumexp(-1, keepdim=True)
        outcomes = torch.cat([entries, tail], 1)
        divergence = (teacher[part].exp() * (teacher[part] - outcomes)).sum(1)
        cross = -log_q.gather(1, targets[part].long()[:, None])[:, 0]
        (right,) = torch.autograd.grad(((1 - alpha) * cross + alpha * divergence).sum() / rows, z)
        errors.append((relative(found[part], right), relative(losses[part, 0], cross / rows), relative(losses[part, 1], divergence / rows)))
    for what, error, bound in zip(["gradient", "cross-entropy", "divergence"], map(max, zip(*errors, strict=True)), [4e-3, 1e-5, 1e-5], strict=True):
        check("objective", what, error, bound)
    if not few:
        logits.copy_(before)
        time = milliseconds(run)  # What it reads after the first time are gradients: numbers all the same.
        say(part="speed", kernel="objective", variant=f"{rows} rows of 152 k", ms=time, tbps=10 * rows * vocabulary / time / 1e9)


def adamw(driver: Driver, few: bool) -> None:
    """One update over a table of parameters, with clipping."""
    counts = [8, 20003, 1] if few else [8, 20003, 1, 151_936 * 1024, 1024 * 3072]
    stored = []
    table, first_blocks, blocks = b"", [], 0
    for index, count in enumerate(counts):
        weight, rest = normal(count), torch.zeros(count, dtype=torch.int16, device=GPU)
        m, v = torch.randn(count, device=GPU) * 1e-3, torch.rand(count, device=GPU) * 1e-4
        gradient = torch.randn(count, device=GPU) * 1e-2
        stored.append((weight, rest, m, v, gradient, [x.double() for x in (weight, m, v)]))
        first_blocks.append(blocks)
        blocks += up(count, AGREEMENT["ADAMW_BLOCK"])
        table += structure(
            "Parameter", weight=weight, rest=rest, first_moment=m, second_moment=v, gradient=gradient, count=Long(count), decays=index % 2,
        )
    table_on_device = torch.frombuffer(bytearray(table), dtype=torch.uint8).to(GPU)
    first = torch.tensor(first_blocks, dtype=I32, device=GPU)
    parts, norm_and_scale = poisoned(blocks, dtype=F64), poisoned(2, dtype=F64)
    threads, shared = AGREEMENT["ADAMW_THREADS"], AGREEMENT["ADAMW_SHARED_BYTES"]
    rate, decay, limit = 1e-3, 0.1, 0.5
    by = structure("Update", beta1=Double(0.9), beta2=Double(0.999), rate=rate / 0.1, root_scale=1 / math.sqrt(0.001), epsilon=1e-8, keep=1 - rate * decay)

    def run() -> None:
        driver.launch("adamw", "adamw_gradient_squares", (blocks, 1), threads, shared, table_on_device, first, len(counts), parts)
        driver.launch("adamw", "adamw_clipping", (1, 1), threads, shared, parts, blocks, Double(limit), norm_and_scale)
        driver.launch("adamw", "adamw_bf16", (blocks, 1), threads, 0, table_on_device, first, len(counts), norm_and_scale[1:], by)

    run()
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for *_, gradient, _ in stored))
    check("adamw", "norm", abs(float(norm_and_scale[0]) / norm - 1), 1e-9)
    scale = min(limit / norm, 1)
    for index, (weight, rest, m, v, gradient, (theta, m_before, v_before)) in enumerate(stored):
        g = gradient.double() * scale
        m_right, v_right = 0.9 * m_before + 0.1 * g, 0.999 * v_before + 0.001 * g * g
        keep = 1 - rate * decay if index % 2 else 1
        right = theta * keep - rate * (m_right / 0.1) / ((v_right / 0.001).sqrt() + 1e-8)
        bits = (weight.view(torch.int16).int() << 16) + rest.int()
        check("adamw", f"parameter {index}", relative(bits.view(F32), right), 1e-6)
        check("adamw", f"moments {index}", max(relative(m, m_right), relative(v, v_right)), 1e-6)
    if not few:
        time = milliseconds(run)
        say(part="speed", kernel="adamw", variant="159 M parameters", ms=time, tbps=32 * sum(counts) / time / 1e9)


def ceilings() -> None:
    """What the device reaches at most: copies and products."""
    a = torch.randn(1 << 30, device=GPU, dtype=F32)
    b = torch.empty_like(a)
    time = milliseconds(lambda: b.copy_(a))
    say(part="ceiling", kernel="copy", ms=time, tbps=8 * (1 << 30) / time / 1e9)
    x, y = normal(8192, 8192), normal(8192, 8192)
    time = milliseconds(lambda: x @ y)
    say(part="ceiling", kernel="product", ms=time, tflops=2 * 8192**3 / time / 1e9)


def main() -> None:
    """Runs all kernels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cubins", type=Path, help="the folder with the compiled kernels and agreement.txt")
    parser.add_argument("--few", action="store_true", help="the smallest shapes once, untimed")
    arguments = parser.parse_args()
    torch.manual_seed(torch.seed() if not arguments.few else 1)
    read_agreement(arguments.cubins / "agreement.txt")
    driver = Driver(arguments.cubins)
    if not arguments.few:
        ceilings()
    for part in (attention, selection, norm, rotary, swiglu, embedding, objective, adamw):
        try:
            part(driver, arguments.few)
            torch.cuda.synchronize()
        except RuntimeError as error:  # An error of the device ends all that follows.
            say(part="correctness", kernel=part.__name__, variant="", error=None, bound=None, good=False, reason=str(error)[:300])
            sys.exit(f"DISAGREES: {part.__name__} fails: {error}")
    if wrong:
        sys.exit(f"DISAGREES: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
