#!/usr/bin/env bash
# Makes target/gpu/bundle.tar.gz: what run.sh needs on a machine with a GPU besides this folder. Needs what tests/cuda_build.sh
# needs, and no GPU.
#
#     tests/gpu/prepare.sh
#
# The bundle has the program and the numerical tests of training, stripped; the compiled kernels; a tiny teacher; and Liger's
# kernels from PyPI for the comparison. The libraries of CUDA come from the Python packages of the machine with the GPU. Run it
# after every change of the program: run.sh refuses a bundle of another commit unless it is told not to.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ $# -eq 0 ]] || { sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 1; }

tests/cuda_build.sh
work="$PWD/target/cuda"
bundle="$PWD/target/gpu/bundle"
toolkit="$(dirname "$(dirname "$(find "$work/python" -path '*bin/nvcc' | head -1)")")"
export CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-90}"

# The tests with the flags of the program, so that nothing is built again.
CUDA_HOME="$toolkit" CUDA_PATH="$toolkit" CUDA_ROOT="$toolkit" PATH="$toolkit/bin:$PATH" CARGO_TARGET_DIR="$work/build" \
    RUSTFLAGS="-L native=$toolkit/lib -L native=$work/driver -C link-arg=-Wl,--unresolved-symbols=ignore-all -C link-arg=-Wl,-rpath,\$ORIGIN/lib" \
    cargo rustc --release --locked --features cuda -p leadspan-train --test device --message-format json -- \
    -C link-arg=-Wl,--no-as-needed -C link-arg=-lcuda -C link-arg=-lnvrtc >"$work/tests.json"
tests="$(sed -n 's/.*"executable":"\([^"]*\/device-[^"]*\)".*/\1/p' "$work/tests.json" | tail -1)"
[[ -x "$tests" ]] || { echo "error: the tests of training were not built" >&2; exit 1; }

rm -rf "$bundle"
mkdir -p "$bundle/kernels" "$bundle/site"
strip -o "$bundle/leadspan" "$work/bundle/leadspan"
strip -o "$bundle/training-tests" "$tests"
install -m 755 tests/cuda_run.sh "$bundle/"
cp -R "$work/bundle/fixture" "$bundle/fixture"
newest="$(ls -td "$work"/build/release/build/leadspan-kernels-*/out/ | while read -r out; do [[ -e "$out/objective.cubin" ]] && echo "$out"; done | head -1)"
cp "$newest"/*.cubin crates/kernels/cuda/agreement.txt "$bundle/kernels/"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work/wheels" liger-kernel
python3 -m zipfile -e "$(ls -t "$work"/wheels/liger_kernel-*.whl | head -1)" "$bundle/site"
git rev-parse HEAD >"$bundle/commit"
tar -C "$bundle" -czf "$bundle.tar.gz" .
du -h "$bundle.tar.gz"
(($(stat -c %s "$bundle.tar.gz") < 60 << 20)) || { echo "error: the bundle is larger than 60 MiB" >&2; exit 1; }
