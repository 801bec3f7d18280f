"""What the checks of kernels share: inputs, poisoned outputs, and lines of results."""

import json
import math

import torch

BF16, F32, F64, I32 = torch.bfloat16, torch.float32, torch.float64, torch.int32
GPU = "cuda"
RAGGED = [1, 63, 64, 65, 200, 1840]
wrong = []


def poisoned(*shape: int, dtype: torch.dtype = BF16) -> torch.Tensor:
    """An output that nobody has written."""
    return torch.full(shape, math.nan, dtype=dtype, device=GPU)


def normal(*shape: int, dtype: torch.dtype = BF16) -> torch.Tensor:
    """Random numbers."""
    return torch.randn(*shape, device=GPU).to(dtype)


def say(**line: object) -> None:
    """Prints a line of the results."""
    print(json.dumps(line), flush=True)


def check(kernel: str, variant: str, error: float, bound: float) -> None:
    """Compares an error with its bound."""
    good = error <= bound
    say(part="correctness", kernel=kernel, variant=variant, error=error, bound=bound, good=good)
    if not good:
        wrong.append(f"{kernel} {variant}")
