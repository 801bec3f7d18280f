#!/usr/bin/env bash
# Whether the quick suite is green on a busy machine: runs it beside six busy loops.
#
#     tests/busy.sh [RUNS [LOGS]]
#
# Builds the tests, then runs them RUNS (5) times. Each run's log goes to the folder LOGS (target/busy). Prints a line for
# each run and fails if one of them was not green.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-5} logs=${2:-target/busy} green=0 loops=()
mkdir -p "$logs"
cargo test --release --no-run
trap 'kill "${loops[@]}" 2>/dev/null || true' EXIT
for _ in {1..6}; do
    sh -c 'while :; do :; done' &
    loops+=($!)
done
for ((run = 1; run <= runs; run++)); do
    began=$SECONDS verdict=failed
    if cargo test --release --no-fail-fast >"$logs/$run.log" 2>&1; then
        verdict=green green=$((green + 1))
    fi
    echo "run $run: $verdict after $((SECONDS - began)) s"
done
echo "$green of $runs runs were green beside six busy loops"
((green == runs))
