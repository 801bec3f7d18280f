#!/usr/bin/env bash
# Lets jobs of pipelines/slurm end in every way there is, on a real Slurm of one node, and checks which of them come back:
# tests/cluster/endings.sh
#
# About Slurm and job.sh alone: in the program's place is a script that ends as it is told. Slurm is found, installed or missed as
# for run.sh, with the same exit codes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=slurm.sh
source "$here/slurm.sh"

need_slurm
make_work
mkdir "$work/jobs"
cd "$work/jobs"
cat >program <<'PROGRAM'
#!/usr/bin/env bash
# Called as `program train -c HOW`; what was interrupted succeeds the second time.
trap 'echo "stopped"; exit 75' TERM
echo "started"
case "$3" in
exit-*) exit "${3#exit-}" ;;
killed) kill -9 $$ ;;
esac
[[ ${SLURM_RESTART_COUNT:-0} -gt 0 ]] && exit 0
for _ in {1..1500}; do sleep 0.1; done
PROGRAM
chmod +x program

# submit HOW PARTITION OPTIONS: a job of its own, in a pipeline of that name.
declare -A job
submit() {
    : >"$1"
    job[$1]=$("$repository/pipelines/slurm/submit.sh" LEADSPAN=./program PIPELINE="$1" PARTITION="$2" STAGES=train \
        TRAIN_OPTIONS="--cpus-per-task=1 --job-name=$1 $3" RETRIES=2 | awk '$1 == "train" { print $2 }')
}

started() {
    local how
    for how in "$@"; do
        says "logs/train-${job[$how]}.log" started || return 1
    done
}

# came_back HOW RESTARTS: the job was restarted and succeeded.
came_back() {
    expect "${job[$1]}" JobState COMPLETED
    expect "${job[$1]}" Restarts "$2"
}

step "a Slurm of one node: $(slurmctld -V)"
start_slurm "$work/slurm" 16
submit limit usual "--time=1 --signal=TERM@30"
for how in cancelled signalled; do
    submit "$how" usual ""
done
for how in graceful graceless cancelling; do
    submit "$how" "$how" ""
done
within 30 "jobs do not start" started limit cancelled signalled graceful graceless cancelling
squeue --format='%.6i %.12j %.10P %.3t'
# Room for this one is there once all jobs that may be preempted are gone.
urgent=$(sbatch --parsable --partition=urgent --cpus-per-task=13 --output=/dev/null --wrap="sleep 3")
within 60 "nothing is preempted" all_ended "$urgent"
scancel "${job[cancelled]}"
scancel --batch --signal=TERM "${job[signalled]}"
for how in exit-1 exit-2 killed; do
    submit "$how" usual ""
done
numbers=$(IFS=,; echo "${job[*]}")
within 120 "the jobs do not end" all_ended "$numbers"

step "what became of them"
came_back graceful 1
seen "preempted, with a grace time: SIGTERM, exit code 75, requeued itself"
came_back graceless 1
seen "preempted, without one: requeued by Slurm, once"
came_back cancelling 1
seen "preempted where that cancels, with a grace time: requeued itself"
came_back limit 1
seen "near its time limit: SIGTERM, exit code 75, requeued itself"
came_back signalled 1
seen "SIGTERM to the script: passed on, exit code 75, requeued itself"
expect "${job[cancelled]}" JobState CANCELLED
expect "${job[cancelled]}" Restarts 0
says "logs/train-${job[cancelled]}.log" stopped || fail "the program was not told"
seen "cancelled: ended with 75 as well, and stayed cancelled"
for code in 1 2; do
    expect "${job[exit-$code]}" JobState FAILED
    expect "${job[exit-$code]}" ExitCode "$code:0"
    expect "${job[exit-$code]}" Restarts 0
done
seen "exit codes 1 and 2: failed at once"
expect "${job[killed]}" JobState FAILED
expect "${job[killed]}" Restarts 2
seen "killed again and again: requeued twice, as RETRIES says, then failed"

step "all seen"
