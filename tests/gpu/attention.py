"""Causal attention on the device: against float64, and its time."""

import math

import torch
from checks import GPU, F32, I32, RAGGED, check, normal, poisoned, say
from driver import AGREEMENT, Driver, Long, milliseconds, relative, up


class Attention:
    """Causal attention of packed sequences with grouped heads."""

    def __init__(self, driver: Driver, lengths: list[int], heads: int, group: int, width: int) -> None:
        self.driver, self.lengths, self.heads, self.group, self.width = driver, lengths, heads, group, width
        self.rows, self.scale = sum(lengths), 1 / math.sqrt(width)
        self.key_heads = heads // group
        self.queries = normal(self.rows, heads * width)
        self.keys, self.values = (normal(self.rows, self.key_heads * width) for _ in range(2))
        self.gradient = normal(self.rows, heads * width)
        edges = [0]
        for length in lengths:
            edges.append(edges[-1] + length)
        self.edges = torch.tensor(edges, dtype=I32, device=GPU)
        self.output, self.log_sums = poisoned(self.rows, heads * width), poisoned(heads, self.rows, dtype=F32)

    def tiles(self, tile: int, later_first: bool) -> torch.Tensor:
        """Pairs of sequence and tile, those with most work first."""
        pairs = [(b, i, up(n, tile) - i) for b, n in enumerate(self.lengths) for i in range(up(n, tile))]
        pairs.sort(key=lambda pair: -pair[1] if later_first else -pair[2])
        return torch.tensor([pair[:2] for pair in pairs], dtype=I32, device=GPU)

    def forward(self, tile: int) -> None:
        """The output and the log-sum-exps."""
        tiles = self.tiles_of(tile, True)
        of = f"({self.width},{tile})"
        self.driver.launch(
            "attention_forward", f"attention_forward_bf16_{self.width}_{tile}", (len(tiles), self.heads),
            AGREEMENT[f"forward.threads{of}"], AGREEMENT[f"forward.shared_bytes{of}"],
            self.queries, self.keys, self.values, self.output, self.log_sums, self.edges, tiles,
            Long(self.heads * self.width), Long(self.key_heads * self.width), Long(self.heads * self.width),
            self.group, self.rows, self.scale,
        )

    def tiles_of(self, tile: int, later_first: bool) -> torch.Tensor:
        """The tiles, made once."""
        known = self.__dict__.setdefault("known_tiles", {})
        if (tile, later_first) not in known:
            known[tile, later_first] = self.tiles(tile, later_first)
        return known[tile, later_first]

    def backward(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The gradients of queries, keys and values."""
        w, all_heads, of_keys = self.width, self.heads * self.width, self.key_heads * self.width
        delta = poisoned(self.heads, self.rows, dtype=F32)
        found = poisoned(self.rows, all_heads), poisoned(self.rows, of_keys), poisoned(self.rows, of_keys)
        self.driver.launch(
            "attention_backward", f"attention_delta_bf16_{w}",
            (up(self.rows * self.heads, AGREEMENT[f"delta.rows({w})"]), 1), AGREEMENT[f"delta.threads({w})"], 0,
            self.output, self.gradient, delta, Long(all_heads), Long(all_heads), self.heads, self.rows,
        )
        for side, written, over in (("keys", found[1:], self.key_heads), ("queries", found[:1], self.heads)):
            tiles = self.tiles_of(AGREEMENT[f"{side}.tile({w})"], side == "queries")
            stride = of_keys if side == "keys" else all_heads
            self.driver.launch(
                "attention_backward", f"attention_backward_{side}_bf16_{w}", (len(tiles), over),
                AGREEMENT[f"{side}.threads({w})"], AGREEMENT[f"{side}.shared_bytes({w})"],
                self.queries, self.keys, self.values, self.gradient, self.log_sums, delta, *written, self.edges, tiles,
                Long(all_heads), Long(of_keys), Long(all_heads), Long(stride), self.group, self.rows, self.scale,
            )
        return found

    def right(self) -> list[torch.Tensor]:
        """Output and gradients in float64."""
        leaves = [x.double().requires_grad_() for x in (self.queries, self.keys, self.values)]
        outputs, start = [], 0
        for length in self.lengths:
            q, k, v = (x[start : start + length].view(length, -1, self.width).transpose(0, 1) for x in leaves)
            k, v = (x.repeat_interleave(self.group, 0) for x in (k, v))
            mask = torch.ones(length, length, device=GPU, dtype=torch.bool).triu(1)
            scores = (q @ k.mT * self.scale).masked_fill(mask, -math.inf)
            outputs.append((scores.softmax(-1) @ v).transpose(0, 1).reshape(length, -1))
            start += length
        output = torch.cat(outputs)
        return [output.detach(), *torch.autograd.grad(output, leaves, self.gradient.double())]


def attention(driver: Driver, few: bool) -> None:
    """Attention of every width in both tile shapes, and its gradients."""
    for width in [64] if few else [64, 96, 128, 256]:
        case = Attention(driver, [1, 65] if few else RAGGED, 4, 2, width)
        output, *gradients = case.right()
        for tile in [128, 64] if width <= 128 else [64]:
            case.output.fill_(math.nan), case.log_sums.fill_(math.nan)
            case.forward(tile)
            check("attention_forward", f"{width}, {tile} queries", relative(case.output, output), 4e-3)
        for what, found, right in zip(["queries", "keys", "values"], case.backward(), gradients, strict=True):
            check("attention_backward", f"{width}, {what}", relative(found, right), 8e-3)
    if few:
        return
    for length in (512, 1840, 4096):
        count = 16384 // length
        case = Attention(driver, [length] * count, 16, 2, 128)
        operations = 4 * 128 * 16 * count * length * (length + 1) / 2
        for tile in (128, 64):
            time = milliseconds(lambda case=case, tile=tile: case.forward(tile))
            say(part="speed", kernel="attention_forward", variant=f"{tile} queries, {length} tokens", ms=time, tflops=operations / time / 1e9)
        time = milliseconds(case.backward)
        say(part="speed", kernel="attention_backward", variant=f"{length} tokens", ms=time, tflops=3.5 * operations / time / 1e9)
