#!/usr/bin/env bash
# Submits the whole chain to Slurm: submit.sh [SETTINGS] [VARIABLE=VALUE…]
#
#   prepare -> precompute (array) -> finalize -> train and sweep (array) -> report
#
# SETTINGS is a copy of settings.example.sh, which says what each variable means; variables may come from the environment as
# well, and those that follow win. The jobs' numbers and where to look are printed. When the chain has ended, however it did,
# calling it again is safe: what is done is skipped. Only some tasks of the array: submit.sh SETTINGS ARRAY=3,17-19
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

case "${1:-}" in
-h | --help)
    sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac

fail() {
    echo "error: $1" >&2
    exit 1
}

for argument in "$@"; do
    if [[ "$argument" =~ ^[A-Z_]+= ]]; then
        declare "$argument"
    elif [[ -f "$argument" ]]; then
        # shellcheck source=/dev/null
        source "$(realpath "$argument")"
    else
        fail "\`$argument\` is neither a file of settings nor VARIABLE=VALUE"
    fi
done

: "${PIPELINE:=}" "${LEADSPAN:=leadspan}" "${LEADSPAN_CPU:=$LEADSPAN}" "${SETUP:=}" "${PARTITION:=}" "${ACCOUNT:=}" "${QOS:=}"
: "${PRECOMPUTE_OPTIONS:=}" "${TRAIN_OPTIONS:=}" "${SWEEP_OPTIONS:=$TRAIN_OPTIONS}" "${CPU_OPTIONS:=}"
: "${TRAIN_PROCESSES:=1}" "${TRAIN_MPI:=pmix}"
: "${WORKERS:=4}" "${ARRAY:=}" "${AT_ONCE:=}" "${CLAIM:=no}" "${RETRIES:=5}"
: "${STAGES:=prepare precompute finalize train report}" "${SWEEP_WORKERS:=4}" "${RUNS:=runs}" "${REPORT:=report}" "${LOGS:=logs}"
[[ -f "$PIPELINE" ]] || fail "no pipeline file \`$PIPELINE\`: set PIPELINE, or name a file of settings"
[[ "$WORKERS" =~ ^[1-9][0-9]*$ ]] || fail "WORKERS is \`$WORKERS\`, not a number"
[[ "$SWEEP_WORKERS" =~ ^[1-9][0-9]*$ ]] || fail "SWEEP_WORKERS is \`$SWEEP_WORKERS\`, not a number"
[[ "$TRAIN_PROCESSES" =~ ^[1-9][0-9]*$ ]] || fail "TRAIN_PROCESSES is \`$TRAIN_PROCESSES\`, not a number"
for stage in $STAGES; do
    [[ -f "$here/$stage.sbatch" ]] || fail "STAGES names \`$stage\`, which is no stage"
done
command -v sbatch >/dev/null || fail "no sbatch here: call this where jobs are submitted"
for variable in LEADSPAN LEADSPAN_CPU; do
    program=${!variable}
    # Names without a folder are for the nodes to find.
    if [[ "$program" == */* ]]; then
        [[ -x "$program" ]] || fail "$variable is \`$program\`, which is no program"
        printf -v "$variable" %s "$(realpath "$program")"
    fi
done
LEADSPAN_JOBS=$here
export LEADSPAN LEADSPAN_CPU LEADSPAN_JOBS PIPELINE SETUP WORKERS CLAIM RETRIES SWEEP_WORKERS RUNS REPORT TRAIN_PROCESSES TRAIN_MPI
mkdir -p "$LOGS"

everywhere=(--parsable --export=ALL --kill-on-invalid-dep=yes)
[[ -z "$PARTITION" ]] || everywhere+=(--partition="$PARTITION")
[[ -z "$ACCOUNT" ]] || everywhere+=(--account="$ACCOUNT")
[[ -z "$QOS" ]] || everywhere+=(--qos="$QOS")

# Half a chain is none.
submitted=()
call_off() {
    if [[ $? -ne 0 && ${#submitted[@]} -gt 0 ]]; then
        echo "error: called off ${submitted[*]}, since not everything could be submitted" >&2
        scancel "${submitted[@]}"
    fi
}
trap call_off EXIT

# submit STAGE DEPENDENCY OPTIONS: submits a job, notes its number as $id, and shows it.
submit() {
    local stage=$1 dependency=$2 options log shown
    read -ra options <<<"$3"
    log=$stage-%j.log
    case "$3" in *--array=*) log=$stage-%A_%a.log ;; esac
    [[ -z "$dependency" ]] || options+=(--dependency="$dependency")
    id=$(sbatch "${everywhere[@]}" --output="$LOGS/$log" "${options[@]}" "$here/$stage.sbatch")
    id=${id%%;*}
    submitted+=("$id")
    shown=${log//%[Aj]/$id}
    shown=${shown/\%a/*}
    printf '%-11s %-8s %-32s %s\n' "$stage" "$id" "$LOGS/$shown" "${dependency:+after $dependency}"
}

wanted() {
    [[ " $STAGES " == *" $1 "* ]]
}

# after KIND NUMBERS…: a dependency on those jobs that were submitted.
after() {
    local kind=$1 joined
    shift
    printf -v joined ':%s' "$@"
    [[ $# -eq 0 ]] || echo "$kind$joined"
}

at_once=${AT_ONCE:+%$AT_ONCE}
before=""
if wanted prepare; then
    submit prepare "" "$CPU_OPTIONS"
    before=$(after afterok "$id")
fi
if wanted precompute; then
    submit precompute "$before" "$PRECOMPUTE_OPTIONS --array=${ARRAY:-0-$((WORKERS - 1))}$at_once"
    # However the tasks end, it is worth knowing what is missing; without that job, all of them have to succeed.
    before=$(after afterok "$id")
    ended=$(after afterany "$id")
fi
if wanted finalize; then
    submit finalize "${ended:-$before}" "$CPU_OPTIONS"
    before=$(after afterok "$id")
fi
learning=()
if wanted train; then
    submit train "$before" "--ntasks=$TRAIN_PROCESSES $TRAIN_OPTIONS"
    learning+=("$id")
fi
if wanted sweep; then
    submit sweep "$before" "$SWEEP_OPTIONS --array=0-$((SWEEP_WORKERS - 1))$at_once"
    learning+=("$id")
fi
if wanted report; then
    # Runs that failed leave the others to report on; a cache that is not complete leaves nothing.
    learnt=$(after afterany "${learning[@]}")
    submit report "$before${before:+${learnt:+,}}$learnt" "$CPU_OPTIONS"
fi

numbers=$(IFS=,; echo "${submitted[*]}")
cat <<TEXT

what waits and runs    squeue --jobs=$numbers
what they say          tail -f $LOGS/*.log
how far stage one is   $LEADSPAN_CPU cache inspect CACHE --watch
call it off            scancel ${numbers//,/ }
TEXT
