#!/usr/bin/env bash
# How long a stop takes, with a real teacher: each command is sent SIGTERM at random moments, again and again until it is done.
#
#     tests/stop_times.sh PIPELINE [MOMENTS [SEED]]
#
# PIPELINE is a pipeline file with [evaluate]; nothing of it is touched, everything is made in a temporary folder. Half of the
# MOMENTS (6) of each command are in its first two seconds, the others in its first twenty; those of `prepare` in its first third
# of one. Prints a line for each stop and the
# longest at the end; fails where one took ten seconds or did not end with exit code 75 (or 0, where the command was done).
set -euo pipefail
cd "$(dirname "$0")/.."
pipeline=$(realpath "$1") moments=${2:-6}
RANDOM=${3:-1}
leadspan=${LEADSPAN:-target/release/leadspan}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

common=(-c "$pipeline" --set "cache.dir=\"$folder/cache\"" --set "train.dir=\"$folder/run\"")
small=(--set cache.samples_per_shard=32 --set data.training=64 --set data.validation=8)
swept=(--set "sweep.dir=\"$folder/runs\"" --set 'sweep.seed=[0]' --set train.epochs=50)
longest=0 stops=0

stop_at() { # MILLISECONDS COMMAND…
    local after=$1 code=0 began took
    shift
    "$leadspan" "$@" >"$folder/out" 2>"$folder/log" &
    local id=$!
    sleep "$(printf '%d.%03d' $((after / 1000)) $((after % 1000)))"
    began=$(date +%s%3N)
    kill -TERM "$id" 2>/dev/null || true
    wait "$id" || code=$?
    took=$(($(date +%s%3N) - began))
    printf '%-10s  SIGTERM after %6d ms  exit %3d  after %5d ms  %s\n' "$1" "$after" "$code" "$took" \
        "$(grep -o 'stopping: .*\|stopped .*' "$folder/log" | grep -v '^stopped_by' | head -1)"
    if [[ $code -eq 75 ]]; then
        stops=$((stops + 1))
    elif [[ $code -ne 0 ]]; then
        cat "$folder/log"
        exit 1
    fi
    if ((took > longest)); then longest=$took; fi
    ((took < 10000)) || exit 1
}

for command in prepare precompute train evaluate sweep; do
    arguments=("$command" "${common[@]}")
    if [[ $command != prepare ]]; then arguments+=("${small[@]}"); fi
    case $command in
        train) arguments+=(--set train.epochs=50 --set train.checkpoint_steps=0) ;;
        evaluate) arguments+=(--set "evaluate.dir=\"$folder/evaluation\"" --model "$(dirname "$pipeline")/model/teacher.gguf") ;;
        sweep) arguments+=("${swept[@]}") ;;
    esac
    for ((moment = 0; moment < moments; moment++)); do
        within=$((moment % 2 ? 20000 : 2000))
        if [[ $command == prepare ]]; then
            # It takes less than half a second, and is done anew each time.
            within=300
            rm -rf "$folder/cache"
        fi
        stop_at $((50 + (RANDOM * 32768 + RANDOM) % within)) "${arguments[@]}"
    done
    if [[ $command == prepare ]]; then rm -rf "$folder/cache"; fi
    # Training reads a cache that is complete, whatever was stopped before.
    if [[ $command == precompute ]]; then
        "$leadspan" "${arguments[@]}" >/dev/null 2>&1
        "$leadspan" cache verify "$folder/cache" 2>/dev/null
    fi
done
echo "$stops stops; the longest took $longest ms"
