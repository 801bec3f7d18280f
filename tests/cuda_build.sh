#!/usr/bin/env bash
# Builds the program for NVIDIA GPUs on a machine that has neither a GPU nor CUDA: the compiler and the libraries come from
# PyPI.
#
#     tests/cuda_build.sh [--out DIR] [--kernels]
#
# First compiles the kernels for the capabilities 80, 90a and 100, prints the registers of each and the bytes that it spills,
# and fails if one spills more than `crates/kernels/cuda/spills.txt` allows. --kernels stops there.
#
# DIR (default: target/cuda/bundle) gets the program `leadspan`, beside it in `lib` what it needs of CUDA, and `cuda_run.sh`
# with a tiny teacher, which tries the program out on a machine with a GPU. Needed there: NVIDIA's driver, for CUDA 13, and
# nothing else. CUDA_COMPUTE_CAP chooses the GPU (default: 90; 80 is A100, 89 L4 and RTX 4090, 90 H100 and H200). Downloads
# 0.9 GB; the first build takes some fifteen minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,13s/^# \{0,1\}//p' tests/cuda_build.sh; }
out=target/cuda/bundle kernels_alone=no
while [[ $# -gt 0 ]]; do
    case "$1" in
        --out) out="${2:?--out needs a folder}"; shift 2 ;;
        --kernels) kernels_alone=yes; shift ;;
        --help | -h) usage; exit 0 ;;
        *) echo "error: unknown argument \`$1\`" >&2; usage >&2; exit 1 ;;
    esac
done
export CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-90}"
work="$PWD/target/cuda"
mkdir -p "$work"

# One version of everything: the compiler, its headers and the libraries.
packages=(
    nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85 nvidia-cublas==13.0.2.14 nvidia-curand==10.4.0.35 nvidia-cuda-nvrtc==13.0.88
)
if [[ "$(cat "$work/packages" 2>/dev/null)" != "${packages[*]}" ]]; then
    rm -rf "$work/python"
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$work/python" "${packages[@]}"
    echo "${packages[*]}" >"$work/packages"
fi
toolkit="$(dirname "$(dirname "$(find "$work/python" -path '*bin/nvcc' | head -1)")")"
[[ -x "$toolkit/bin/nvcc" ]] || { echo "error: the packages from PyPI hold no nvcc" >&2; exit 1; }
# What an installed toolkit has: names without versions, and lib64.
ln -sfn lib "$toolkit/lib64"
for library in "$toolkit"/lib/lib*.so.*; do
    name="$(basename "$library")"
    ln -sf "$name" "$toolkit/lib/${name%%.so.*}.so"
done

# Registers and spills, as ptxas reports them: kernel, capability, registers, bytes.
reported="$work/kernels.txt"
for capability in 80 90a 100; do
    for source in crates/kernels/cuda/*.cu; do
        "$toolkit/bin/nvcc" -std=c++17 -O3 -cubin -arch="sm_$capability" --ptxas-options=-v -I crates/kernels/cuda \
            -o "$work/kernel.cubin" "$source" 2>&1 |
            awk -v capability="$capability" '
                /error/ { print > "/dev/stderr"; failed = 1 }
                /Compiling entry function/ { split($0, parts, "\047"); name = parts[2] }
                /bytes spill stores/ { for (i = 2; i <= NF; i++) if ($i == "bytes" && $(i + 1) == "spill" && $(i + 2) ~ /^stores/) spilled = $(i - 1) }
                /Used [0-9]+ registers/ { for (i = 1; i < NF; i++) if ($i == "Used") print name, capability, $(i + 1), spilled }
                END { exit failed }'
    done
done >"$reported"
awk 'FNR == NR { if ($1 !~ /^#/) allowed[$1 " " $2] = $3; next }
     { kernels++; printf "%-52s sm_%-5s %4d registers %5d bytes spilled\n", $1, $2, $3, $4 }
     $4 > allowed[$1 " " $2] { printf "error: %s spills %d bytes on %s, at most %d are allowed\n", $1, $4, $2, allowed[$1 " " $2] > "/dev/stderr"; worse = 1 }
     END { if (!kernels) { print "error: no kernel was compiled" > "/dev/stderr"; exit 1 } exit worse }' \
    crates/kernels/cuda/spills.txt "$reported"
[[ "$kernels_alone" == no ]] || exit 0

# The driver's library is not in any package. The linker is satisfied with an empty one of its name.
mkdir -p "$work/driver"
cc -shared -Wl,-soname,libcuda.so.1 -o "$work/driver/libcuda.so" -x c /dev/null

# The linker would leave out the driver's library, since it finds no symbol in it, hence --no-as-needed. In a folder of its
# own, so that builds with and without CUDA do not drive each other out.
CUDA_HOME="$toolkit" CUDA_PATH="$toolkit" CUDA_ROOT="$toolkit" PATH="$toolkit/bin:$PATH" CARGO_TARGET_DIR="$work/build" \
    RUSTFLAGS="-L native=$toolkit/lib -L native=$work/driver -C link-arg=-Wl,--unresolved-symbols=ignore-all -C link-arg=-Wl,-rpath,\$ORIGIN/lib" \
    cargo rustc --release --locked --features cuda --bin leadspan -- \
    -C link-arg=-Wl,--no-as-needed -C link-arg=-lcuda -C link-arg=-lnvrtc

program="$work/build/release/leadspan"
mkdir -p "$out/lib"
install -m 755 "$program" "$out/leadspan"
install -m 755 tests/cuda_run.sh "$out/cuda_run.sh"
mkdir -p "$out/fixture"
cp -R tests/fixtures/tiny-teacher tests/fixtures/tiny-teacher-text.jsonl "$out/fixture/"
needed() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p'; }
# Libraries of CUDA, and theirs in turn.
queue=("$program")
while [[ ${#queue[@]} -gt 0 ]]; do
    for name in $(needed "${queue[0]}"); do
        if [[ -e "$toolkit/lib/$name" && ! -e "$out/lib/$name" ]]; then
            install -m 644 "$toolkit/lib/$name" "$out/lib/$name"
            queue+=("$toolkit/lib/$name")
        fi
    done
    queue=("${queue[@]:1}")
done
needed "$program" | grep -q '^libcuda.so.1$' || { echo "error: the program does not ask for the driver: CUDA is not in it" >&2; exit 1; }
for name in $(needed "$program"); do
    [[ -e "$out/lib/$name" || "$name" == libcuda.so.1 || "$name" =~ ^(libc|libm|libgcc_s|libstdc\+\+|libdl|libpthread|ld-linux.*)\.so ]] ||
        { echo "error: \`$name\`, which the program needs, is in no package" >&2; exit 1; }
done
# Whether it would start: beside a driver that has every function of a driver's name, all others must be in the libraries.
mkdir -p "$work/start"
nm -D --undefined-only "$program" | sed -n 's/^ *U \(cu[A-Z][A-Za-z0-9_]*\)$/void \1(void) {}/p' >"$work/start/driver.c"
cc -shared -Wl,-soname,libcuda.so.1 -o "$work/start/libcuda.so.1" "$work/start/driver.c"
LD_LIBRARY_PATH="$work/start" "$out/leadspan" --version >/dev/null ||
    { echo "error: the program does not start beside a driver" >&2; exit 1; }
du -sh "$out/leadspan" "$out/lib"
echo "built for compute capability $CUDA_COMPUTE_CAP: $out (next, on a machine with a GPU: $out/cuda_run.sh)"
