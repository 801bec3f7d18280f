#!/usr/bin/env bash
# Our capture of a teacher, its bare forward pass, and PyTorch's capture in turn, on the same samples, and their ratios.
#
#     tests/compare/capture.sh PIPELINE EXPORT [--rounds N] [--samples N]
#
# EXPORT is what `leadspan cache export` wrote of the cache of PIPELINE, which holds whole samples. PyTorch runs a teacher of
# SmolLM2-135M's shape with random weights. Everything runs in one go and in turn, since machines drift.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

usage() { sed -n '2,7s/^# \{0,1\}//p' "tests/compare/capture.sh"; }
[[ $# -ge 2 ]] || { usage >&2; exit 1; }
pipeline="$1" export="$2" rounds=3 samples=48
shift 2
source tests/compare/in_turn.sh
take_numbers "rounds samples" "$@"

cargo build --release --quiet -p leadspan-precompute --example capture
ours=(target/release/examples/capture "$pipeline" --json)
for ((round = 0; round < rounds; round++)); do
    run "ours" "${ours[@]}" --rounds 3 --samples "$samples"
    run "PyTorch" tests/compare/.venv/bin/python tests/compare/capture.py "$export" --json --samples "$samples"
done
run "four times the samples" "${ours[@]}" --rounds 1 --samples $((4 * samples))

tests/compare/.venv/bin/python - "$results" <<'END'
import json, statistics, sys

runs = {}
for line in open(sys.argv[1]):
    name, result = line.split("\t", 1)
    runs.setdefault(name, []).append(json.loads(result))
pairs = list(zip(runs["ours"], runs["PyTorch"], strict=True))
middle = lambda values: statistics.median(list(values))
ours = runs["ours"]
print(f"bare forward and head:  {middle(run['bare_tokens_per_second'] for run in ours):.0f} tokens/s")
print(f"capture:                {middle(run['capture_tokens_per_second'] for run in ours):.0f} tokens/s, "
      f"{middle(run['capture_peak_memory_bytes'] for run in ours) / 1e6:.0f} MB at most")
print(f"PyTorch's capture:      {middle(run['tokens_per_second'] for run in runs['PyTorch']):.0f} tokens/s, "
      f"{middle(run['peak_memory_bytes'] for run in runs['PyTorch']) / 1e6:.0f} MB at most")
print(f"capture over bare:      {middle(run['capture_over_bare'] for run in ours):.3f} times the time")
print(f"capture over PyTorch's: "
      f"{middle(a['capture_tokens_per_second'] / b['tokens_per_second'] for a, b in pairs):.2f} times the tokens/s")
more = runs["four times the samples"][0]["capture_peak_memory_bytes"]
print(f"four times the samples: {more / middle(run['capture_peak_memory_bytes'] for run in ours):.3f} times the memory")
print(f"parts one by one:       {ours[0]['parts']}")
END
