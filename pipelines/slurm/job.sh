# shellcheck shell=bash
# What every job of this folder does, sourced by the .sbatch files: run the program, and put the job back into the queue when it
# was interrupted.
#
#   run ARGUMENTS…     runs $LEADSPAN with them, and ends the job; $PROCESSES of it, if that is set, which MPI connects
#
# How the program ends decides:
#   0             done
#   75            stopped by a signal, nothing lost: requeued, as often as it happens
#   128 or more   killed, as by the out-of-memory killer: requeued if it had fewer than $RETRIES restarts of any kind
#   others        an error that would come again: the job fails, and says so to the jobs that depend on it

set -uo pipefail

# The last task of an array to start has the array's own number as SLURM_JOB_ID: told that, scancel and scontrol take all tasks.
this_job=$SLURM_JOB_ID
if [[ -n "${SLURM_ARRAY_JOB_ID:-}" ]]; then
    this_job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
fi

run() {
    local program=$LEADSPAN code tasks=(--ntasks=1)
    if [[ ${PROCESSES:-1} -gt 1 ]]; then
        # Without the last option, the others would wait for one that was killed.
        tasks=(--ntasks="$PROCESSES" --mpi="${TRAIN_MPI:-pmix}" --kill-on-bad-exit=1)
    fi
    # Slurm tells a step, not the script, that time is nearly up or that the job is about to be preempted. srun does not take
    # over how many cores the job has.
    srun "${tasks[@]}" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "$program" "$@" &
    local step=$!
    # For `scancel --batch`, and sites that signal the script: srun would end the step at once.
    trap pass_on TERM USR1
    while kill -0 "$step" 2>/dev/null; do
        wait "$step"
    done
    wait "$step"
    code=$?
    trap - TERM USR1
    if [[ $code -eq 75 ]]; then
        requeue "was stopped by a signal"
    elif [[ $code -ge 128 && ${SLURM_RESTART_COUNT:-0} -lt ${RETRIES:-5} ]]; then
        requeue "was killed ($code), as happens where memory runs out"
    fi
    exit "$code"
}

# Of a job that was cancelled, or that Slurm requeues itself, the state is no longer RUNNING: it is left alone.
is_running() {
    [[ $(scontrol show job --oneliner "$this_job" 2>/dev/null) == *" JobState=RUNNING "* ]]
}

pass_on() {
    if is_running; then
        scancel --signal=TERM "$this_job"
    fi
}

requeue() {
    if is_running; then
        echo "job.sh: the program $1: back into the queue (restart $((${SLURM_RESTART_COUNT:-0} + 1)))" >&2
        scontrol requeue "$this_job"
    else
        echo "job.sh: the program $1, and so was the job: what becomes of it is up to Slurm" >&2
    fi
}

if [[ -n "${SETUP:-}" ]]; then
    eval "$SETUP"
fi
