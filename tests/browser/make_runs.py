"""Writes folders of runs as a sweep leaves them, with made-up numbers and hostile names: what the browser's test looks at.

    make_runs.py FOLDER

FOLDER/full is a sweep with evaluations and every baseline, FOLDER/bare three runs without one, one of them unfinished.
"""

import json
import math
import random
import sys
from pathlib import Path

SECTIONS = ["prompt", "chain_of_thought", "answer"]


def write(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def lines(path: Path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def held_out(loss: float) -> dict:
    return {
        "cross_entropy": loss + 0.4,
        "forward_kl": loss,
        "soft_cross_entropy": loss + 1.4,
        "top_1_agreement": math.exp(-loss),
        "positions": 20021,
    }


def wilson(right: int, of: int) -> list:
    """The 95 % interval of a share."""
    ratio, share = 1.959963984540054**2 / of, right / of
    half = math.sqrt(ratio * share * (1 - share) + ratio * ratio / 4)
    return [(share + ratio / 2 - half) / (1 + ratio), (share + ratio / 2 + half) / (1 + ratio)]


def run(folder: Path, proportion: str, seed: int, *, sections=SECTIONS, weight=0.5, max_flops=None, accuracy=None, ends=True) -> None:
    random.seed(f"{proportion} {seed} {weight} {max_flops} {sections}")
    share = float(proportion)
    train = {
        "dir": f"sweep/{folder.name}",
        "lead_span_proportion": proportion,
        "supervised_sections": sections,
        "distillation_weight": weight,
        "learning_rate": 4e-4,
        "seed": seed,
    }
    if max_flops is not None:
        train["max_flops"] = max_flops
    write(folder / "run.json", {"ingredients": {}, "config": {"cache": {"dir": "cache"}, "train": train}})
    steps = 0 if max_flops == 0 else 138 if max_flops is None else int(138 * max_flops / 4e15)
    final = 1.3 + 0.5 * (1 - share) + 0.05 * random.random()
    metrics = [{"event": "validation", "step": 0, **held_out(11.7)}]
    for step in range(1, (steps if ends else 40) + 1):
        loss = final + 8 * math.exp(-step / 12) + 0.1 * random.random()
        metrics.append({"event": "step", "step": step, "steps": steps, "loss": loss, "tokens": int(1660 * share)})
    if ends and steps:
        metrics.append({"event": "validation", "step": steps, **held_out(final)})
    lines(folder / "metrics.jsonl", metrics)
    if not ends:
        return
    write(
        folder / "summary.json",
        {
            "steps": steps,
            "tokens": int(1660 * share) * steps,
            "positions": int(1660 * share) * steps,
            "seconds": 3.1 * share * steps * (1 + 0.04 * random.random()),
            "peak_memory_bytes": int(1.1e9 + 7e8 * share + 2e7 * random.random()),
            "training_flops": 4e15 * share * steps / 138,
            "held_out_before": held_out(11.7),
            "held_out_after": held_out(11.7 if steps == 0 else final),
        },
    )
    if accuracy is None:
        return
    correct = round(200 * accuracy + random.uniform(-6, 6) * (accuracy > 0.05))
    write(
        folder / "evaluation/summary.json",
        {
            "problems": 200,
            "correct": correct,
            "accuracy": correct / 200,
            "accuracy_interval": wilson(correct, 200),
            "held_out": held_out(final),
        },
    )
    answers = []
    for index in range(200):
        right = index < correct
        answers.append(
            {
                "index": index,
                "id": f"problem-{index}",
                "correct": right,
                "expected": str(7 * index),
                "found": str(7 * index) if right else None if index % 2 else "</code><script>alert(1)</script>",
                "end": "stopped",
                "tokens": 90,
                "question": f"A shop sells {index} boxes of <b>seven</b> apples & pears.\nHow many fruits is that?",
                "text": "We multiply. " * 80 + f"So there are {7 * index + 1} fruits <img src=x onerror=alert(1)>.",
            }
        )
    lines(folder / "evaluation/answers.jsonl", answers)


def main() -> None:
    root = Path(sys.argv[1])
    full = root / "full"
    quality = {"0.25": 0.36, "0.5": 0.47, "0.75": 0.5, "1.0": 0.52}
    for proportion, accuracy in quality.items():
        for seed in range(3):
            run(full / f"proportion-{proportion}-seed-{seed}", proportion, seed, accuracy=accuracy)
            thought = ["chain_of_thought"]
            run(full / f"proportion-{proportion}-thought-seed-{seed}", proportion, seed, sections=thought, accuracy=accuracy - 0.07)
            if proportion != "1.0":
                budget = 4e15 * float(proportion)
                run(full / f"equal-compute-{proportion}-seed-{seed}", "1.0", seed, max_flops=budget, accuracy=accuracy - 0.05)
    for seed in range(3):
        run(full / f"supervised-seed-{seed}", "1.0", seed, weight=0, accuracy=0.31)
    run(full / "untrained", "1.0", 0, max_flops=0, accuracy=0.0)
    run(full / "<script>alert(1)<img src=x>", "0.5", 3, ends=False)
    bare = root / "bare"
    run(bare / "half", "0.5", 0)
    run(bare / "whole", "1.0", 0)
    run(bare / "quarter", "0.25", 0, ends=False)


main()
