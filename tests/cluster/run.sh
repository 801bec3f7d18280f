#!/usr/bin/env bash
# Runs the chain of pipelines/slurm on a real Slurm of one node, interrupts it in every way, and holds what it leaves to what one
# process makes: tests/cluster/run.sh
#
# LEADSPAN names the program (target/release/leadspan unless set). Slurm is Debian's, which is installed where that is possible
# without asking: as root, with apt-get, on a machine without systemd; INSTALL=no forbids it. Everything is made in a folder
# that is removed again, unless KEEP=yes.
#
# Exit codes: 0 what should hold was seen to hold; 1 it did not, and logs are shown; 3 skipped, for a reason that is printed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=slurm.sh
source "$here/slurm.sh"

need_slurm
leadspan=$(realpath "${LEADSPAN:-$repository/target/release/leadspan}")
if [[ ! -x "$leadspan" ]]; then
    echo "error: no program \`$leadspan\`: cargo build --release, or name it in LEADSPAN" >&2
    exit 1
fi

make_work

# make_pipeline FOLDER: the tiny teacher, and so much text that it is busy for a while.
make_pipeline() {
    mkdir "$1"
    cp -r "$repository/tests/fixtures/tiny-teacher" "$1/teacher"
    python3 - "$repository/tests/fixtures/tiny-teacher-text.jsonl" "$1/text.jsonl" <<'PYTHON'
import json, sys

rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
with open(sys.argv[2], "w", encoding="utf-8") as out:
    for number in range(1600):
        row = dict(rows[number % len(rows)], id=f"row-{number}")
        if number % 2:
            row["chain_of_thought"] = "12 + 30 = 42. " * 60
        out.write(json.dumps(row) + "\n")
PYTHON
    cat >"$1/pipeline.toml" <<'TOML'
[teacher]
model = "teacher"

[data]
files = ["text.jsonl"]
format = "columns"
validation = 80
seed = 7

[cache]
dir = "cache"
top_k = 16
samples_per_shard = 4

[student]
model = "teacher"
layers = [0]

[train]
dir = "run"
epochs = 1
learning_rate = 1e-3
checkpoint_steps = 20

[sweep]
dir = "runs"
lead_span_proportion = [0.25, 0.5]
baselines = ["untrained"]
TOML
}

# not_before JOB EARLIER: the one began when the other had ended.
not_before() {
    [[ ! "$(field "$1" StartTime)" < "$(field "$2" EndTime)" ]] || fail "job $1 began before $2 had ended"
}

shards() {
    find "$1/cache/layers" -name '*.parquet' 2>/dev/null | wc -l
}

has_shards() {
    [[ $(shards "$1") -ge $2 ]]
}

is_running() {
    [[ "$(field "$1" JobState)" == RUNNING ]]
}

# program_of JOB: the process of the program itself, which Slurm runs as the job's step.
program_of() {
    local pid
    for pid in $(scontrol listpids "$(field "$1" JobId).0" | grep -oP '^\d+'); do
        if tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q ' precompute -c '; then
            echo "$pid"
            return
        fi
    done
}

# submit FOLDER ARGUMENTS…: calls submit.sh there and notes the jobs' numbers by stage.
declare -A job
submit() {
    local folder=$1 stage id
    shift
    (cd "$folder" && LEADSPAN="$leadspan" "$repository/pipelines/slurm/submit.sh" PIPELINE=pipeline.toml "$@") |
        tee "$work/submitted"
    job=()
    while read -r stage id _; do
        if [[ "$id" =~ ^[0-9]+$ ]]; then job[$stage]=$id; fi
    done <"$work/submitted"
}

# Times a task was started, and of each start how many work units it had to do of those that are its own.
starts() {
    grep -oP '\d+(?= of \d+ work units to do)' "$1" | xargs
}

# in_the_middle LOG: it was started twice, the second time with some of its work units done and some not.
in_the_middle() {
    local first second rest
    read -r first second rest <<<"$(starts "$1")"
    [[ -n "$second" && -z "$rest" && $second -gt 0 && $second -lt $first ]] ||
        fail "\`$(basename "$1")\` has starts with $first, ${second:-no second} ${rest:-} work units to do"
    echo "$((first - second)) of $first work units kept"
}

step "what one process makes"
make_pipeline "$work/alone"
(cd "$work/alone" && "$leadspan" precompute -c pipeline.toml && "$leadspan" train -c pipeline.toml) >"$work/alone.log" 2>&1
seen "a cache of $(shards "$work/alone") shards and a student, in ${SECONDS}s"

step "a Slurm of one node: $(slurmctld -V)"
start_slurm "$work/slurm" 6

step "the chain with five workers"
make_pipeline "$work/chain"
chain=$work/chain
submit "$chain" WORKERS=5 SWEEP_WORKERS=2 STAGES="prepare precompute finalize train sweep report" RUNS="run runs"
array=${job[precompute]}

# Under way before the first blow falls: every task, with about a tenth of the work done.
under_way() {
    local task
    for task in {0..4}; do
        says "$chain/logs/precompute-${array}_$task.log" "work units to do" || return 1
    done
    has_shards "$chain" 10
}
within 120 "the array does not get under way" under_way
step "interruptions of stage one"
echo "task 1: scontrol requeue, as on preemption"
scontrol requeue "${array}_1"
within 60 "no shard is written any more" has_shards "$chain" 18
victim=$(program_of "${array}_2")
[[ -n "$victim" ]] || fail "the program of task 2 is not to be found"
echo "task 2: kill -9 $victim ($(tr '\0' ' ' <"/proc/$victim/cmdline" | cut -d' ' -f2-))"
kill -9 "$victim"
within 60 "no shard is written any more" has_shards "$chain" 26
echo "task 3: scancel --signal=TERM, as ahead of the time limit"
scancel --signal=TERM "${array}_3"
within 60 "no shard is written any more" has_shards "$chain" 34
echo "task 4: scancel --batch --signal=TERM, to the script"
scancel --batch --signal=TERM "${array}_4"
[[ $(shards "$chain") -lt $(shards "$work/alone") ]] || fail "the interruptions came too late"

within 240 "stage two is not reached" is_running "${job[train]}"
has_steps() {
    [[ -e "$1/run/metrics.jsonl" && $(wc -l <"$1/run/metrics.jsonl") -ge $2 ]]
}
within 60 "training does not begin" has_steps "$chain" 40
step "an interruption of stage two"
echo "train: scancel --signal=TERM"
scancel --signal=TERM "${job[train]}"
numbers=$(IFS=,; echo "${job[*]}")
within 240 "the chain does not end" all_ended "$numbers"

step "what the chain came to"
for task in {0..4}; do
    expect "${array}_$task" JobState COMPLETED
    expect "${array}_$task" ExitCode 0:0
    expect "${array}_$task" Restarts $((task > 0))
    not_before "${job[finalize]}" "${array}_$task"
    log=$chain/logs/precompute-${array}_$task.log
    if [[ $task -gt 0 ]]; then
        kept=$(in_the_middle "$log")
        seen "task $task started again, with $kept"
    fi
done
says "$chain/logs/precompute-${array}_2.log" "was killed (137)" || fail "task 2 was not requeued as killed"
for task in 3 4; do
    log=$chain/logs/precompute-${array}_$task.log
    says "$log" "was stopped by a signal: back" || fail "task $task did not exit with 75"
    says "$log" '^{"leadspan":"precompute","outcome":"stopped","exit_code":75,' || fail "task $task ended without a last line"
done
for stage in prepare finalize train report; do
    expect "${job[$stage]}" JobState COMPLETED
    expect "${job[$stage]}" ExitCode 0:0
done
expect "${job[train]}" Restarts 1
steps=$(wc -l <"$work/alone/run/metrics.jsonl")
went_on=$(grep -oP 'going on after step \K\d+' "$chain/logs/train-${job[train]}.log")
[[ -n "$went_on" && $went_on -gt 0 && $went_on -lt $steps ]] || fail "training went on after step ${went_on:-none} of $steps"
for task in 0 1; do
    expect "${job[sweep]}_$task" JobState COMPLETED
    expect "${job[sweep]}_$task" ExitCode 0:0
    not_before "${job[sweep]}_$task" "${job[finalize]}"
    not_before "${job[report]}" "${job[sweep]}_$task"
done
not_before "${array}_0" "${job[prepare]}"
not_before "${job[train]}" "${job[finalize]}"
not_before "${job[report]}" "${job[train]}"
seen "prepare, finalize, train (requeued once, went on after step $went_on), sweep and report ran, each after what it depends on"

# same FOLDER: the cache there is what one process makes, in everything that has no dot before its name.
same() {
    diff -r --exclude='.*' "$work/alone/cache" "$1/cache" || fail "the caches differ"
    "$leadspan" cache verify "$1/cache" 2>/dev/null
}
same "$chain"
seen "$(shards "$chain") shards with all that is beside them: byte for byte those of one process"
cmp "$work/alone/run/model/model.safetensors" "$chain/run/model/model.safetensors" || fail "the students differ"
seen "the student of the interrupted training: byte for byte that of an uninterrupted one"
[[ -s "$chain/report/index.html" ]] || fail "no report"
runs=$(($(wc -l <"$chain/report/runs.csv") - 1))
[[ $runs -eq 4 ]] || fail "the report has $runs runs, not 4"
seen "report/index.html, and report/runs.csv with $runs runs"

step "a task that is cancelled, what is made of it, and only its share again"
make_pipeline "$work/again"
again=$work/again
submit "$again" WORKERS=2 STAGES="prepare precompute finalize train"
array=${job[precompute]}
within 120 "stage one does not get under way" has_shards "$again" 20
echo "task 1: scancel"
scancel "${array}_1"
numbers=$(IFS=,; echo "${job[*]}")
within 120 "the chain does not end" all_ended "$numbers"
expect "${array}_0" JobState COMPLETED
expect "${array}_1" JobState CANCELLED
expect "${array}_1" Restarts 0
expect "${job[finalize]}" JobState FAILED
expect "${job[train]}" JobState CANCELLED
[[ ! -e "$again/run" ]] || fail "a student was trained on part of a cache"
missing=$(grep -ohP -- '--array=\K[0-9,-]+' "$again/logs/finalize-${job[finalize]}.log" | head -1)
[[ "$missing" == 1 ]] || fail "finalize says that \`$missing\` is missing, not task 1"
seen "the task stayed cancelled, finalize failed and named --array=$missing, and training was called off"
submit "$again" WORKERS=2 ARRAY="$missing" STAGES="precompute finalize"
numbers=$(IFS=,; echo "${job[*]}")
within 120 "the chain does not end" all_ended "$numbers"
expect "${job[precompute]}_1" JobState COMPLETED
expect "${job[finalize]}" JobState COMPLETED
same "$again"
seen "submitted again, that task alone completed the cache: byte for byte that of one process"

step "tasks that claim their work, one of them killed"
make_pipeline "$work/claimed"
claimed=$work/claimed
submit "$claimed" WORKERS=3 CLAIM=yes STAGES="prepare precompute finalize"
array=${job[precompute]}
within 120 "stage one does not get under way" has_shards "$claimed" 20
victim=$(program_of "${array}_0")
[[ -n "$victim" ]] || fail "the program of task 0 is not to be found"
echo "task 0: kill -9 $victim ($(tr '\0' ' ' <"/proc/$victim/cmdline" | cut -d' ' -f2-))"
kill -9 "$victim"
numbers=$(IFS=,; echo "${job[*]}")
within 120 "the chain does not end" all_ended "$numbers"
for task in {0..2}; do
    expect "${array}_$task" JobState COMPLETED
    expect "${array}_$task" Restarts $((task == 0))
done
expect "${job[finalize]}" JobState COMPLETED
same "$claimed"
seen "a task that was killed started again, and all came to their end: byte for byte the cache of one process"

step "all seen"
