#!/usr/bin/env bash
# Whether the quick suite is green on a busy machine: runs it beside six busy loops.
#
#     tests/busy.sh [RUNS [LOGS [AT_ONCE]]]
#
# Builds the tests, then runs them RUNS (5) times, AT_ONCE (1) of them at the same time: several runs make the machine busier
# still, and take less time in all. Each run's log goes to the folder LOGS (target/busy). Prints a line for each run and fails
# if one of them was not green.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5} logs=${2:-target/busy} at_once=${3:-1} green=0 loops=()
mkdir -p "$logs"
rm -f "$logs"/*.green
cargo test --release --no-run
trap 'kill "${loops[@]}" 2>/dev/null || true' EXIT
for _ in {1..6}; do
    sh -c 'while :; do :; done' &
    loops+=($!)
done
one() { # number of the run
    local began=$SECONDS verdict=failed
    if cargo test --release --no-fail-fast >"$logs/$1.log" 2>&1; then
        verdict=green
        touch "$logs/$1.green"
    fi
    echo "run $1: $verdict after $((SECONDS - began)) s"
}
for ((first = 1; first <= runs; first += at_once)); do
    together=()
    for ((run = first; run < first + at_once && run <= runs; run++)); do
        one "$run" &
        together+=($!)
    done
    wait "${together[@]}"
done
green=$(find "$logs" -name '*.green' | wc -l)
echo "$green of $runs runs were green beside six busy loops, $at_once at a time"
((green == runs))
