#!/usr/bin/env bash
# The numerical tests on a GPU: the student's forward pass, the gradients of every loss under every tail policy, the
# optimizer, a few steps, and what a teacher's capture stores, each against the CPU, in f32 and bf16, in stock operations and in
# fused kernels.
#
#     tests/cuda.sh [--check]
#
# Needs an NVIDIA GPU with its driver (nvidia-smi) and NVIDIA's CUDA toolkit (nvcc). --check only says whether they are
# there. CUDA_VISIBLE_DEVICES chooses among several GPUs. The first build takes some ten minutes. Exit codes: 0 everything
# agrees, 1 something does not, 3 it could not be tried.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,10s/^# \{0,1\}//p' tests/cuda.sh; }
case "${1:-}" in
    "" | --check) ;;
    --help | -h) usage; exit 0 ;;
    *) echo "error: unknown argument \`$1\`" >&2; usage >&2; exit 1 ;;
esac

missing=()
gpus=""
if ! command -v nvidia-smi >/dev/null; then
    missing+=("nvidia-smi is not on PATH: install NVIDIA's driver")
elif ! gpus="$(nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv,noheader 2>&1)" ||
    [[ -z "$gpus" ]]; then
    missing+=("nvidia-smi finds no GPU: ${gpus:-it lists none}")
fi
for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda; do
    [[ -n "$home" && -x "$home/bin/nvcc" ]] && ! command -v nvcc >/dev/null && PATH="$home/bin:$PATH"
done
if ! command -v nvcc >/dev/null; then
    missing+=("nvcc is not on PATH nor under CUDA_HOME: install NVIDIA's CUDA toolkit")
elif nvcc --version | grep -q "^Stub"; then
    missing+=("nvcc at $(command -v nvcc) is the stub that CI checks types with: put the real one before it on PATH")
fi
command -v cargo >/dev/null || missing+=("cargo is not on PATH: install the Rust toolchain")
if ((${#missing[@]} > 0)); then
    echo "NOT TRIED: this machine lacks what the CUDA tests need" >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 3
fi

echo "GPU:  $gpus"
echo "nvcc: $(nvcc --version | grep release)"
[[ "${1:-}" != --check ]] || exit 0
# The build asks nvidia-smi as well, but of several GPUs it must be the one that is used.
if [[ -z "${CUDA_COMPUTE_CAP:-}" ]]; then
    first="${CUDA_VISIBLE_DEVICES:-0}"
    capability="$(nvidia-smi --id="${first%%,*}" --query-gpu=compute_cap --format=csv,noheader | head -n 1)"
    export CUDA_COMPUTE_CAP="${capability/./}"
fi

tests=(
    "train:--test device"
    "precompute:--lib tests::device"
)
for test in "${tests[@]}"; do
    # shellcheck disable=SC2086 # the arguments are words
    cargo test --release --locked --features cuda -p "leadspan-${test%%:*}" ${test#*:} --no-run 2>&1 || {
        echo "NOT TRIED: leadspan-${test%%:*} does not build with CUDA" >&2
        exit 3
    }
done
failed=()
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
for test in "${tests[@]}"; do
    # One test at a time, so that what fails for want of memory is not another's fault; and none at all is no success.
    # shellcheck disable=SC2086
    if ! cargo test --release --locked --features cuda -p "leadspan-${test%%:*}" ${test#*:} -- --test-threads 1 2>&1 |
        tee "$log" || ! grep -q "^test result: ok\. [1-9]" "$log"; then
        failed+=("leadspan-${test%%:*}")
    fi
done
if ((${#failed[@]} > 0)); then
    echo "DISAGREES: ${failed[*]} on $gpus" >&2
    exit 1
fi
echo "AGREES: everything on $gpus is what the CPU computes"
