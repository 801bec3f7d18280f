#!/usr/bin/env bash
# Our greedy generation and transformers' in turn, on the same prompts, and the ratio of their tokens a second.
#
#     tests/compare/generation.sh MODEL TOKENIZER PROBLEMS [--rounds N] [--batch N] [--tokens N]
#
# MODEL is a GGUF file or model directory, TOKENIZER a directory with its tokenizer and chat template, PROBLEMS JSON lines with
# `question`. Everything runs in one go and in turn, with two threads, since machines drift.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

usage() { sed -n '2,7s/^# \{0,1\}//p' "tests/compare/generation.sh"; }
[[ $# -ge 3 ]] || { usage >&2; exit 1; }
model="$1" tokenizer="$2" problems="$3" rounds=3 batch=8 tokens=128
shift 3
source tests/compare/in_turn.sh
take_numbers "rounds batch tokens" "$@"

prompts="$(mktemp)"
trap 'rm -f "$results" "$prompts"' EXIT
python=tests/compare/.venv/bin/python
"$python" tests/compare/generation.py prompts "$problems" "$tokenizer" "$prompts" --count "$batch"
cargo build --release --quiet -p leadspan-model --example generate
for ((round = 0; round < rounds; round++)); do
    RAYON_NUM_THREADS=2 run "ours" target/release/examples/generate "$model" "$prompts" --json --tokens \
        --batch "$batch" --new-tokens "$tokens"
    run "transformers" "$python" tests/compare/generation.py run "$model" "$prompts" --json --tokens \
        --batch "$batch" --new-tokens "$tokens" --threads 2
done

"$python" - "$results" <<'END'
import json, statistics, sys

runs = {}
for line in open(sys.argv[1]):
    name, result = line.split("\t", 1)
    runs.setdefault(name, []).append(json.loads(result))
for name, of in runs.items():
    middle = lambda key: statistics.median(run[key] for run in of)
    print(f"{name:<14}{middle('tokens_per_second'):>8.1f} tokens/s{middle('peak_memory_bytes') / 1e6:>10.0f} MB at most")
pairs = list(zip(runs["ours"], runs["transformers"], strict=True))
same = [a == b for a, b in zip(pairs[0][0]["generated"], pairs[0][1]["generated"], strict=True)]
ratio = statistics.median(a["tokens_per_second"] / b["tokens_per_second"] for a, b in pairs)
print(f"{ratio:.2f} times transformers' tokens/s (median of {len(pairs)} rounds); {sum(same)} of {len(same)} samples are the same")
END
