#!/usr/bin/env bash
# Our training step and PyTorch's in turn, on the same samples, and their ratios.
#
#     tests/compare/train_step.sh CACHE EXPORT [--rounds N] [--steps N]
#
# CACHE holds whole samples with 64 entries a position, EXPORT is what `leadspan cache export` wrote of it. Everything runs
# in one go and in turn, since machines drift: only ratios within one run mean anything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

usage() { sed -n '2,8s/^# \{0,1\}//p' "tests/compare/train_step.sh"; }
[[ $# -ge 2 ]] || { usage >&2; exit 1; }
cache="$1" export="$2" rounds=3 steps=5
shift 2
source tests/compare/in_turn.sh
take_numbers "rounds steps" "$@"

cargo build --release --quiet -p leadspan-train --example train_step
ours=(target/release/examples/train_step "$cache" --json --warmup 1)
theirs=(tests/compare/.venv/bin/python tests/compare/train_step.py "$export" --json --warmup 1)
for ((round = 0; round < rounds; round++)); do
    run "step, SmolLM2-6" "${ours[@]}" --steps "$steps"
    run "step, SmolLM2-6, PyTorch" "${theirs[@]}" --steps "$steps"
    run "half of every sample" "${ours[@]}" --steps "$steps" --proportion 0.5
    run "chain of thought only" "${ours[@]}" --steps "$steps" --sections chain_of_thought
    run "teacher in the loop" "${ours[@]}" --steps 2 --online
    run "step, Qwen3-4" "${ours[@]}" --steps 2 --shape qwen3-4
    run "step, Qwen3-4, PyTorch" "${theirs[@]}" --steps 2 --shape qwen3-4
done

tests/compare/.venv/bin/python - "$results" <<'END'
import json, statistics, sys

runs = {}
for line in open(sys.argv[1]):
    name, result = line.split("\t", 1)
    runs.setdefault(name, []).append(json.loads(result))
middle = {name: lambda key, r=r: statistics.median(run[key] for run in r) for name, r in runs.items()}
print(f"{'':<26}{'tokens/s':>10}{'peak MB':>10}{'s a step':>10}{'of the floor':>14}")
for name, of in middle.items():
    floor = f"{of('share_of_floor'):.0%}" if "share_of_floor" in runs[name][0] else ""
    step = of("seconds") / of("steps")
    print(f"{name:<26}{of('tokens_per_second'):>10.0f}{of('peak_memory_bytes') / 1e6:>10.0f}{step:>10.2f}{floor:>14}")
print()
for shape in ["SmolLM2-6", "Qwen3-4"]:
    pairs = list(zip(runs[f"step, {shape}"], runs[f"step, {shape}, PyTorch"], strict=True))
    for ours, theirs in pairs:
        for count in ["tokens", "positions"]:
            if ours[count] != theirs[count]:
                sys.exit(f"error: {shape}: {ours[count]} {count} here and {theirs[count]} in PyTorch: not the same samples")
    # Within a round, since the machine drifts between rounds too.
    ratio = lambda key: statistics.median(ours[key] / theirs[key] for ours, theirs in pairs)
    print(f"{shape}: {ratio('tokens_per_second'):.2f} times PyTorch's tokens/s, "
          f"{ratio('peak_memory_bytes'):.2f} times its peak memory (medians of {len(pairs)} rounds)")
whole, half, thought = middle["step, SmolLM2-6"], middle["half of every sample"], middle["chain of thought only"]
shares = {name: runs[name][0]["shares"] for name in runs}
passes = lambda of, name: of("seconds") * (1 - shares[name]["optimizer"])
print(f"half of every sample: {half('seconds') / whole('seconds'):.3f} of the step, "
      f"{passes(half, 'half of every sample') / passes(whole, 'step, SmolLM2-6'):.3f} of forward and backward, "
      f"{half('activation_bytes') / whole('activation_bytes'):.3f} of the activations' memory, "
      f"{half('operations') / whole('operations'):.3f} of the operations")
head = lambda of, name: of("seconds") * shares[name]["head_and_loss"]
print(f"chain of thought only: {thought('positions') / whole('positions'):.3f} of the positions, "
      f"{head(thought, 'chain of thought only') / head(whole, 'step, SmolLM2-6'):.3f} of the head's time, "
      f"{thought('seconds') / whole('seconds'):.3f} of the step")
online = middle["teacher in the loop"]
print(f"offline against online: {whole('tokens_per_second') / online('tokens_per_second'):.2f} times the tokens/s")
print(f"shares of our step: {shares['step, SmolLM2-6']}")
END
