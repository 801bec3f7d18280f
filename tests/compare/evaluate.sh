#!/usr/bin/env bash
# `leadspan evaluate` and transformers on the same problems, and whether they agree answer by answer.
#
#     tests/compare/evaluate.sh PIPELINE [--model MODEL] [--problems N] [--tokenizer DIR] [--out DIR]
#
# PIPELINE has an [evaluate] table that asks greedily. MODEL (a model directory or GGUF file; default: what `leadspan evaluate`
# takes) is asked its first N problems (default: 50), and with --tokenizer transformers reads the tokenizer from elsewhere.
# The results stay in --out; else they are removed. Two threads each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

usage() { sed -n '2,8s/^# \{0,1\}//p' "tests/compare/evaluate.sh"; }
[[ $# -ge 1 && "$1" != -* ]] || { usage >&2; exit 1; }
pipeline="$1" problems=50 out="" model=() tokenizer=()
shift
while [[ $# -gt 0 ]]; do
    [[ $# -ge 2 ]] || { usage >&2; exit 1; }
    case "$1" in
        --model) model=(--model "$2") ;;
        --problems) problems="$2" ;;
        --tokenizer) tokenizer=(--tokenizer "$2") ;;
        --out) out="$2" ;;
        *) echo "error: unknown argument \`$1\`" >&2; usage >&2; exit 1 ;;
    esac
    shift 2
done
source tests/compare/environment.sh

if [[ -z "$out" ]]; then
    out="$(mktemp -d)"
    trap 'rm -rf "$out"' EXIT
fi
mkdir -p "$out"
out="$(realpath "$out")"
cargo build --release --quiet
cargo build --release --quiet -p leadspan-evaluate --example grade
# Held-out losses are not what is compared: there is no cache.
RAYON_NUM_THREADS=2 target/release/leadspan --json evaluate -c "$pipeline" "${model[@]}" \
    --set "evaluate.problems=$problems" --set "evaluate.dir=$out" --set "cache.dir=$out/none" >"$out/leadspan.json"
asked="$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["model"])' "$out/leadspan.json")"
"$python" tests/compare/evaluate.py "$pipeline" "$out/answers.jsonl" "$asked" "${tokenizer[@]}" --threads 2 \
    --grade target/release/examples/grade
