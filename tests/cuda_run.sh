#!/usr/bin/env bash
# Tries a program built for CUDA on a machine with a GPU: is what it captures and learns there what the CPU captures and
# learns, and how fast is it. Needs the program and NVIDIA's driver, nothing else.
#
#     cuda_run.sh [--program PROGRAM] [--pipeline FILE]
#
# PROGRAM is the `leadspan` beside this script, or that of target/cuda/bundle. FILE is a pipeline with real models, whose
# stage one is timed on the GPU, in bf16, into a temporary folder; without one, only
# correctness is tried, on a tiny teacher. Exit codes: 0 everything agrees, 1 something does not, 3 it could not be tried.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
usage() { sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
program="$here/leadspan" pipeline=""
[[ -x "$program" ]] || program="$here/../target/cuda/bundle/leadspan"
while [[ $# -gt 0 ]]; do
    case "$1" in
        --program) program="${2:?--program needs a file}"; shift 2 ;;
        --pipeline) pipeline="$(realpath "${2:?--pipeline needs a file}")"; shift 2 ;;
        --help | -h) usage; exit 0 ;;
        *) echo "error: unknown argument \`$1\`" >&2; usage >&2; exit 1 ;;
    esac
done
[[ -x "$program" ]] || { echo "NOT TRIED: there is no program at \`$program\`" >&2; exit 3; }
program="$(realpath "$program")"
command -v nvidia-smi >/dev/null || { echo "NOT TRIED: nvidia-smi is not on PATH: install NVIDIA's driver" >&2; exit 3; }
gpu="$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>&1 | head -1)" || { echo "NOT TRIED: $gpu" >&2; exit 3; }
"$program" --version || { echo "NOT TRIED: \`$program\` does not start here" >&2; exit 3; }
echo "GPU: $gpu"
fixture="$here/fixture"
[[ -d "$fixture" ]] || fixture="$here/fixtures"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cat >"$work/pipeline.toml" <<END
[teacher]
model = "$fixture/tiny-teacher"
[data]
files = ["$fixture/tiny-teacher-text.jsonl"]
format = "columns"
validation = 8
[cache]
dir = "cache"
top_k = 32
precision = "exact"
[student]
model = "$fixture/tiny-teacher"
layers = [0]
[train]
dir = "run"
learning_rate = 1e-3
epochs = 3
batch_samples = 4
END
leadspan() { # command…, its JSON on standard output; what it says is shown where it fails
    "$program" "$@" --json 2>"$work/log" || { cat "$work/log" >&2; echo "DISAGREES: \`leadspan $*\` failed" >&2; exit 1; }
}
number() { # key: its last value in the JSON on standard input
    sed -n "s/.*\"$1\":\([-+0-9.e]*\).*/\1/p"
}
holds() { # what, value, largest
    if awk "BEGIN { value = $2; exit !(value <= $3 && value >= -($3)) }"; then
        echo "agrees: $1 $2 (at most $3)"
    else
        echo "DISAGREES: $1 $2 (at most $3)" >&2
        exit 1
    fi
}
of() { # device, dtype
    printf '%s\n' --set "teacher.device=\"$1\"" --set "teacher.dtype=\"$2\"" --set "train.device=\"$1\"" \
        --set "cache.dir=\"cache-$1-$2\"" --set "train.dir=\"run-$1-$2\""
}
# What each stored log-probability may be off by: rounding of single precision, and of bfloat16's 8 bits in every activation.
for limits in "f32 1e-4" "bf16 1.5"; do
    read -r dtype largest <<<"$limits"
    mapfile -t on_gpu < <(of cuda:0 "$dtype")
    leadspan precompute -c "$work/pipeline.toml" "${on_gpu[@]}" >"$work/captured"
    # The audit runs the teacher again, on the CPU.
    audit="$(leadspan cache audit -c "$work/pipeline.toml" "${on_gpu[@]}" --set 'teacher.device="cpu"')"
    holds "capture in $dtype, largest difference of a log-probability," "$(number largest_logprob_error <<<"$audit")" "$largest"
done
losses=()
for device in cpu cuda:0; do
    mapfile -t here_f32 < <(of "$device" f32)
    trained="$(leadspan train -c "$work/pipeline.toml" "${here_f32[@]}" --set 'cache.dir="cache-cuda:0-f32"')"
    losses+=("$(number forward_kl <<<"$trained")")
done
holds "training, held-out forward KL of ${losses[1]} after three epochs, off by" "$(awk "BEGIN { print ${losses[1]} - ${losses[0]} }")" 1e-3

if [[ -n "$pipeline" ]]; then
    captured="$(leadspan precompute -c "$pipeline" --set "cache.dir=\"$work/cache\"" --set 'teacher.device="cuda:0"' \
        --set 'teacher.dtype="bf16"' --worker 0/8)"
    echo "capture of an eighth: $(number tokens_per_second <<<"$captured") tokens/s, $(number tokens <<<"$captured") tokens"
fi
echo "everything agrees"
