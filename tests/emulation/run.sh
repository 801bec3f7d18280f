#!/usr/bin/env bash
# Runs the CUDA kernels on the CPU, in an emulated thread block, and compares them with float64.
#
#     tests/emulation/run.sh [--optional] [NAME ...]
#
# Prints one table: kernel, variant, its error, the bound, bank conflicts, seconds. Then it makes mutations of the kernels: a
# barrier removed, a mask off by one, ... The test of a kernel must find each of them. NAMEs (such as attention_forward) choose
# programs. Needs g++ or clang++; without one it ends with 3, or with 0 if --optional is given. JOBS (2) programs run at a
# time; SEED (1) chooses all orders. Everything is written to target/emulation.
#
# The mutations of a program stand in its source: `// mutation | FILE | WHAT | SED EXPRESSION`. They run with FEW defined, with
# which a program may test few variants.
#
# Exit codes: 0 all good; 1 a bound is exceeded or a mutation is not found; 3 there is no compiler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

optional=no names=()
for argument in "$@"; do
    case "$argument" in
        --optional) optional=yes ;;
        --help | -h) sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        -*) echo "error: unknown argument \`$argument\`" >&2; exit 1 ;;
        *) names+=("$argument") ;;
    esac
done
compiler="${CXX:-}"
for candidate in g++ clang++; do
    [[ -n "$compiler" ]] || compiler="$(command -v "$candidate" || true)"
done
if [[ -z "$compiler" ]]; then
    echo "skipped: there is no C++ compiler (g++ or clang++)"
    [[ "$optional" == yes ]] && exit 0
    exit 3
fi

work=target/emulation
mkdir -p "$work"
rm -rf "${work:?}"/*
if [[ ${#names[@]} -eq 0 ]]; then
    for source in tests/emulation/*.cpp; do names+=("$(basename "$source" .cpp)"); done
fi
export compiler work

# Compiles a program: build NAME FOLDER_OF_KERNELS PROGRAM [OPTION ...]
build() {
    "$compiler" -std=c++17 -fno-strict-aliasing -I tests/emulation -I "$2" "tests/emulation/$1.cpp" -o "$3" "${@:4}"
}

# One program; its lines go to a file of its name, and so does what went wrong.
test_one() {
    local name=$1 code=0
    if ! build "$name" crates/kernels/cuda "$work/$name" -O2 2>"$work/$name.compiler"; then
        echo "does not compile" >"$work/$name.failed"
        return
    fi
    (ulimit -t 200 && exec "$work/$name") >"$work/$name.rows" 2>"$work/$name.errors" || code=$?
    [[ $code -eq 0 ]] || echo "exit code $code" >"$work/$name.failed"
}

# One mutation, on a copy of the kernels: test_mutation NUMBER PROGRAM "FILE | WHAT | SED EXPRESSION"
test_mutation() {
    local number=$1 program=$2 code=0
    local file=${3%% | *} rest=${3#* | }
    local what=${rest%% | *} edit=${rest#* | }
    local folder="$work/mutation-$number" verdict
    mkdir -p "$folder"
    cp crates/kernels/cuda/*.cuh "$folder/"
    sed -i "$edit" "$folder/$file"
    if cmp -s "$folder/$file" "crates/kernels/cuda/$file"; then
        verdict="CHANGES NOTHING"
    elif ! build "$program" "$folder" "$folder/program" -O1 -DFEW 2>"$folder/compiler"; then
        verdict="DOES NOT COMPILE"
    else
        (ulimit -t 30 && FIRST_FAILURE=yes exec "$folder/program") >"$folder/rows" 2>"$folder/errors" || code=$?
        case $code in
            0) verdict="NOT FOUND" ;;
            70) verdict="found: $(head -1 "$folder/errors" | cut -c11-150)" ;;
            152 | 137) verdict="found: it does not end" ;;
            139) verdict="found: it crashes" ;;
            *) verdict="found: $(awk -F '\t' '/FAILED/ {print "error " $3 ", bound " $4 ", bank conflicts " $5}' "$folder/rows")" ;;
        esac
    fi
    printf '%s: %s\t%s\n' "$program" "$what" "$verdict" >"$work/mutation-$number.row"
}
export -f build test_one test_mutation

jobs=${JOBS:-2}
printf '%s\n' "${names[@]}" | xargs -P "$jobs" -I NAME bash -euo pipefail -c 'test_one NAME'

printf '%-28s %-34s %9s %9s %9s %8s\n' kernel variant error bound conflicts seconds
for name in "${names[@]}"; do
    if [[ -f "$work/$name.rows" ]]; then cat "$work/$name.rows"; fi
done | awk -F '\t' '{printf "%-28s %-34s %9s %9s %9s %8s %s\n", $1, $2, $3, $4, $5, $6, $7}'
failed=no
for name in "${names[@]}"; do
    [[ -f "$work/$name.failed" ]] || continue
    failed=yes
    echo "$name: $(cat "$work/$name.failed")"
    head -20 "$work/$name.compiler" "$work/$name.errors" 2>/dev/null || true
done

number=0
for name in "${names[@]}"; do
    while IFS= read -r mutation; do
        number=$((number + 1))
        printf '%03d\0%s\0%s\0' "$number" "$name" "$mutation"
    done < <(sed -n 's/^\/\/ mutation | //p' "tests/emulation/$name.cpp")
done | xargs -0 -r -P "$jobs" -n 3 bash -euo pipefail -c 'test_mutation "$@"' _

echo
shopt -s nullglob
found=0 rows=("$work"/mutation-*.row)
for row in "${rows[@]}"; do
    awk -F '\t' '{printf "%-76s %s\n", $1, $2}' "$row"
    if grep -q $'\tfound' "$row"; then found=$((found + 1)); fi
done
[[ $found -eq ${#rows[@]} ]] || failed=yes
echo "$found of ${#rows[@]} mutations found; ${SECONDS} s"
[[ "$failed" == no ]]
