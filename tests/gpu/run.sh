#!/usr/bin/env bash
# Measures the program on a GPU in nine minutes at most: correctness, ceilings, each kernel, capture and training in stock and
# fused operations, and transformers beside them in the same run.
#
#     tests/gpu/run.sh [--any-commit]
#     tests/gpu/run.sh --rehearse PROGRAM     tiny models on the CPU, to try the script; PROGRAM is a leadspan
#
# Needs target/gpu/bundle.tar.gz from prepare.sh, NVIDIA's driver, and python3 with torch, transformers, pyarrow and safetensors.
# Everything goes to $OUT (default: target/gpu/out): results.jsonl line by line, and at the end results.json and table.txt, which
# is also printed last. A part that fails or takes too long is named there, and the others go on; so is a run of the program that
# did not trust its fused kernels. LIMIT (530) is the time for all
# in seconds; PYTHON (python3) the interpreter. Exit codes: 0 all parts succeeded, 1 one did not, 3 it could not be tried.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
usage() { sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
rehearsed="" any=no
while [[ $# -gt 0 ]]; do
    case "$1" in
        --rehearse) rehearsed="$(realpath "${2:?--rehearse needs a program}")"; shift 2 ;;
        --any-commit) any=yes; shift ;;
        --help | -h) usage; exit 0 ;;
        *) echo "error: unknown argument \`$1\`" >&2; usage >&2; exit 1 ;;
    esac
done
OUT="${OUT:-$root/target/gpu/out}"
python="${PYTHON:-python3}" limit="${LIMIT:-530}"
mkdir -p "$OUT"
rm -f "$OUT"/results.json* "$OUT"/table.txt "$OUT"/log.txt
work="$(mktemp -d)"
watcher=""
trap '[[ -z "$watcher" ]] || kill "$watcher" 2>/dev/null; rm -rf "$work"' EXIT

if [[ -n "$rehearsed" ]]; then
    device=cpu program="$rehearsed" small=(--small) fixture="$root/tests/fixtures" batch=1024
else
    command -v nvidia-smi >/dev/null || { echo "NOT TRIED: nvidia-smi is not on PATH" >&2; exit 3; }
    bundle="$root/target/gpu/bundle.tar.gz"
    [[ -f "$bundle" ]] || { echo "NOT TRIED: there is no $bundle: run tests/gpu/prepare.sh where the program can be built" >&2; exit 3; }
    mkdir "$work/bundle"
    tar -C "$work/bundle" -xzf "$bundle"
    if [[ "$any" == no && -d "$root/.git" && "$(cat "$work/bundle/commit")" != "$(git -C "$root" rev-parse HEAD 2>/dev/null)" ]]; then
        echo "NOT TRIED: the bundle is of another commit: run prepare.sh again, or say --any-commit" >&2
        exit 3
    fi
    device=cuda:0 program="$work/bundle/leadspan" small=() fixture="$work/bundle/fixture" batch=16384
    libraries="$("$python" -c 'import nvidia, pathlib; print(":".join(str(p) for root in nvidia.__path__ for p in pathlib.Path(root).glob("*/lib")))')"
    export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" PYTHONPATH="$work/bundle/site${PYTHONPATH:+:$PYTHONPATH}"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    # What is used of the GPU's memory, five times a second.
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 200 >"$work/memory" 2>/dev/null &
    watcher=$!
fi
"$program" --version || { echo "NOT TRIED: the program does not start here" >&2; exit 3; }
export PYTHONUNBUFFERED=1

failed=()
# part NAME SECONDS COMMAND…: its JSON lines that are results go to results.jsonl, everything to log.txt.
part() {
    local name=$1 seconds=$2 left=$((limit - SECONDS)) code=0 began=$SECONDS
    shift 2
    ((left < seconds)) && seconds=$left
    if ((seconds < 5)); then
        echo "{\"part\":\"failed\",\"what\":\"$name\",\"reason\":\"no time was left\"}" >>"$OUT/results.jsonl"
        failed+=("$name")
        return 1
    fi
    [[ -z "$watcher" ]] || : >"$work/memory"
    echo "== $name (${SECONDS} s so far, at most $seconds s)" | tee -a "$OUT/log.txt"
    timeout --kill-after 3 "$seconds" "$@" >"$work/output" 2>>"$OUT/log.txt" || code=$?
    cat "$work/output" >>"$OUT/log.txt"
    grep '^{"part"' "$work/output" >>"$OUT/results.jsonl" || true
    if [[ $code -ne 0 ]]; then
        echo "{\"part\":\"failed\",\"what\":\"$name\",\"reason\":\"exit code $code after $((SECONDS - began)) s\"}" >>"$OUT/results.jsonl"
        failed+=("$name")
        echo "   failed: exit code $code" | tee -a "$OUT/log.txt"
        return 1
    fi
}
# leadspan PART SIDE COMMAND…: runs the program, and makes a result of its JSON, of what it said (whether it fell back to stock
# operations) and of the memory that it used.
leadspan() {
    local part=$1 side=$2 code=0
    shift 2
    "$program" "$@" --json >"$work/json" 2>"$work/said" || code=$?
    cat "$work/said" >&2
    [[ $code -eq 0 ]] || return $code
    "$python" "$here/table.py" line "$part" "$side" "$work/json" "$work/said" "$work/memory"
}
export -f leadspan
export program python here work

sanitize() { # tool, seconds
    part "few kernels under $1" "$2" compute-sanitizer --tool "$1" --error-exitcode 1 --kernel-name-exclude kernel_substring=at:: \
        "$python" "$here/kernels.py" "$work/bundle/kernels" --few || true
}
if [[ -z "$rehearsed" ]]; then
    part "few kernels" 45 "$python" "$here/kernels.py" "$work/bundle/kernels" --few || true
    if command -v compute-sanitizer >/dev/null; then
        sanitize memcheck 40
    fi
    part "kernels" 75 "$python" "$here/kernels.py" "$work/bundle/kernels" || true
    part "training against the CPU" 75 "$work/bundle/training-tests" --test-threads 1 || true
fi
part "models and texts" 60 "$python" "$here/make.py" "$work/made" --fixture "$fixture" "${small[@]}" || true
of=(-c "$work/made/pipeline.toml" --set "teacher.device=\"$device\"" --set "train.device=\"$device\"")
capture() { # side, seconds, further arguments
    local side=$1 seconds=$2
    shift 2
    # shellcheck disable=SC2016 # expanded by the inner shell
    part "capture, $side" "$seconds" bash -c 'leadspan "$@"' _ capture "leadspan $side" precompute "${of[@]}" "$@" || true
}
capture fused 60
capture stock 45 --set 'teacher.kernels="stock"' --set 'cache.dir="stock"' --set cache.samples_per_shard=64 --worker 0/4
capture exact 30 --set 'cache.precision="exact"' --set 'cache.dir="exact"' --set cache.samples_per_shard=16 --worker 0/16
part "export" 40 "$program" cache export "$work/made/exact" --out "$work/exact.parquet" --allow-incomplete || true
part "export of all" 40 "$program" cache export "$work/made/cache" --out "$work/all.parquet" || true
# shellcheck disable=SC2016
part "training, fused" 60 bash -c 'leadspan "$@"' _ training "leadspan fused" train "${of[@]}" || true
part "training, transformers" 60 "$python" "$here/others.py" train "$work/made" "$work/all.parquet" || true
part "capture, transformers" 60 "$python" "$here/others.py" capture "$work/made" "$work/all.parquet" --tokens "$batch" || true
part "errors" 40 "$python" "$here/others.py" errors "$work/made" "$work/exact.parquet" || true
[[ -n "$rehearsed" ]] ||
    part "capture, transformers compiled" 75 "$python" "$here/others.py" capture "$work/made" "$work/all.parquet" --tokens "$batch" --compile || true
# shellcheck disable=SC2016
part "training, stock" 45 bash -c 'leadspan "$@"' _ training "leadspan stock" train "${of[@]}" --set 'train.kernels="stock"' --set 'train.dir="stock-run"' \
    --set train.max_flops=5e14 || true
[[ -n "$rehearsed" ]] || ! command -v compute-sanitizer >/dev/null || sanitize racecheck 60

"$python" "$here/table.py" table "$OUT/results.jsonl" "$OUT/results.json" | tee "$OUT/table.txt"
((${#failed[@]} == 0)) || exit 1
