"""Results of a run on a GPU: one line from the program's JSON, and the table and JSON file of all lines.

    table.py line PART SIDE JSON SAID MEMORY
    table.py table LINES RESULTS
"""

import json
import sys
from pathlib import Path


# What the program says when its fused kernels give another result than stock operations.
FELL_BACK = "in stock operations, which are slower"


def line(part: str, side: str, answer: Path, said: Path, memory: Path) -> None:
    """Prints a result of what the program printed, with the most memory of the GPU that was used meanwhile."""
    found = json.loads(answer.read_text().splitlines()[-1])
    found = {**found, **found.get("summary", {})}
    result = {"part": part, "side": side, "tokens_per_second": found["tokens_per_second"], "tokens": found["tokens"]}
    metrics = Path(found.get("dir", "")) / "metrics.jsonl"
    if part == "training" and metrics.is_file():
        steps = [json.loads(text) for text in metrics.read_text().splitlines()]
        rates = [step["tokens_per_second"] for step in steps if step.get("event") == "step"]
        settled = sorted(rates[3:] or rates)
        result["tokens_per_second"] = settled[len(settled) // 2]
    if memory.is_file():
        used = [int(text) for text in memory.read_text().split() if text.isdigit()]
        result["peak_memory_bytes"] = max(used, default=0) << 20
    reasons = [text for text in said.read_text().splitlines() if FELL_BACK in text]
    if reasons:
        result |= {"good": False, "reason": reasons[0]}
    print(json.dumps(result))


def ratio(results: list[dict], part: str, of: str, to: str) -> str:
    """How many times the speed of another side a side has."""
    rates = {result["side"]: result["tokens_per_second"] for result in results if result["part"] == part}
    if of not in rates or to not in rates:
        return "not measured"
    return f"{rates[of] / rates[to]:.2f}"


def cell(value: object) -> str:
    """A number as the table shows it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def table(lines: Path, results_file: Path) -> None:
    """Prints the table, and writes everything as one JSON object."""
    results = [json.loads(text) for text in lines.read_text().splitlines()] if lines.is_file() else []
    summary = {
        "capture, times transformers (2.0 wanted)": ratio(results, "capture", "leadspan fused", "transformers"),
        "capture, times transformers compiled (1.2 wanted)": ratio(results, "capture", "leadspan fused", "transformers compiled"),
        "capture, fused times stock": ratio(results, "capture", "leadspan fused", "leadspan stock"),
        "training, times transformers + Liger (1.5 wanted)": ratio(results, "training", "leadspan fused", "transformers + Liger"),
        "training, fused times stock": ratio(results, "training", "leadspan fused", "leadspan stock"),
    }
    results_file.write_text(json.dumps({"summary": summary, "results": results}, indent=1) + "\n")
    for result in results:
        rest = {key: value for key, value in result.items() if key not in ("part", "kernel", "side", "variant", "what", "good")}
        name = " ".join(str(result[key]) for key in ("kernel", "side", "what", "variant") if result.get(key))
        mark = "" if result.get("good", result["part"] != "failed") else "  WRONG"
        shown = "  ".join(f"{key} {cell(value)}" for key, value in rest.items())
        print(f"{result['part']:<12} {name:<48} {shown}{mark}")
    print()
    for name, value in summary.items():
        print(f"{name:<52} {value}")


if __name__ == "__main__":
    if sys.argv[1] == "line":
        line(sys.argv[2], sys.argv[3], *map(Path, sys.argv[4:7]))
    else:
        table(Path(sys.argv[2]), Path(sys.argv[3]))
