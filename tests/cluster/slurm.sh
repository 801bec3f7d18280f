# shellcheck shell=bash
# A Slurm of one node in a folder, without systemd, cgroups or a database: to be sourced.
#
#   start_slurm FOLDER CPUS    start munged, slurmctld and slurmd, with everything they write in FOLDER
#   stop_slurm                 end them, and what they run
#
# and small words for tests: skip, step, seen, fail, within, field, expect.
#
# It runs as whoever calls it, on ports of its own and with a munge socket of its own, beside any other Slurm of the machine.
# SLURM_CONF is exported, so that sbatch and the others find it.

slurm_pids=()
# What a test has started in the background, which must not outlive it.
background_pids=()

skip() {
    echo "skipped: $1"
    exit 3
}

step() {
    printf '\n== %s (%ds so far)\n' "$*" "$SECONDS"
}

seen() {
    printf 'seen: %s\n' "$*"
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# field JOB NAME: what Slurm says of a job, or of a task (ARRAY_TASK).
field() {
    scontrol show job --oneliner "$1" | grep -oP "(?<= |^)$2=\K\S+" | head -1
}

# expect JOB NAME VALUE
expect() {
    local found
    found=$(field "$1" "$2")
    [[ "$found" == "$3" ]] || fail "$2 of job $1 is $found, not $3"
}

all_ended() {
    [[ -z "$(squeue --noheader --jobs="$1" 2>/dev/null)" ]]
}

says() {
    grep -qs -- "$2" "$1"
}

# Makes sure that there is a Slurm, or ends the test.
need_slurm() {
    [[ -z "$(slurm_missing)" ]] && return
    [[ "${INSTALL:-yes}" != no ]] || skip "no Slurm here, and INSTALL=no"
    slurm_install || skip "no Slurm here ($(slurm_missing | xargs) missing): apt-get install slurm-wlm munge"
    [[ -z "$(slurm_missing)" ]] || skip "Debian's packages lack $(slurm_missing | xargs)"
}

# make_work: a folder to work in ($work), which goes away with the Slurm in it whatever happens; logs are shown if that is failure.
make_work() {
    work=$(mktemp -d)
    # munge wants every folder above its socket open to all.
    chmod 755 "$work"
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

finish() {
    local code=$? pid
    trap - EXIT
    if [[ $code -ne 0 ]]; then
        echo "== failed; the ends of all logs:"
        squeue 2>/dev/null || true
        tail -n 25 "$work"/*.log "$work"/*/logs/*.log "$work"/slurm/slurm*.log 2>/dev/null || true
    fi
    stop_slurm
    for pid in "${background_pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    if [[ "${KEEP:-no}" == yes ]]; then echo "kept: $work"; else rm -rf "$work"; fi
    exit "$code"
}

# What of Debian's packages is missing here.
slurm_missing() {
    local program
    for program in munged slurmctld slurmd sbatch scontrol squeue scancel srun; do
        PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || echo "$program"
    done
}

# Installs Debian's packages, where that does not meddle with a machine that has services of its own.
slurm_install() {
    if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null || [[ -d /run/systemd/system ]]; then
        return 1
    fi
    echo "installing Debian's slurm-wlm and munge"
    local packages=(slurm-wlm slurm-wlm-basic-plugins munge)
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1 && return
    apt-get update -qq >/dev/null 2>&1 &&
        apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1
}

# A port on which nobody answers.
free_port() {
    local port
    while port=$((20000 + RANDOM % 20000)); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

# The first two cores that this process may use, or the only one.
two_cores() {
    local allowed first rest
    allowed=$(awk '/^Cpus_allowed_list:/ { print $2 }' /proc/self/status)
    first=${allowed%%[-,]*}
    case $allowed in
    "$first"-*) echo "$first,$((first + 1))" ;;
    "$first",*) rest=${allowed#*,} && echo "$first,${rest%%[-,]*}" ;;
    *) echo "$first" ;;
    esac
}

start_slurm() {
    local folder=$1 cpus=$2 user host
    user=$(id -un)
    host=$(hostname -s)
    PATH="$PATH:/usr/sbin"
    mkdir -p "$folder"/{munge,state,spool}
    chmod 755 "$folder" "$folder/munge"
    head -c 1024 /dev/urandom >"$folder/munge/key"
    chmod 600 "$folder/munge/key"
    # A job that is requeued waits until its credential has expired: two minutes unless told otherwise, and no less than these.
    cat >"$folder/slurm.conf" <<CONF
ClusterName=leadspan
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=100000
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=20
MinJobAge=3600
MailProg=/bin/true
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=usual Nodes=$host Default=YES MaxTime=INFINITE PriorityTier=9 PreemptMode=OFF
PartitionName=urgent Nodes=$host MaxTime=INFINITE PriorityTier=9 PreemptMode=OFF
PartitionName=graceful Nodes=$host MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=graceless Nodes=$host MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE
PartitionName=cancelling Nodes=$host MaxTime=INFINITE PriorityTier=1 PreemptMode=CANCEL GraceTime=20
CONF
    export SLURM_CONF="$folder/slurm.conf"
    munged --foreground --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
        --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" \
        >"$folder/munged.log" 2>&1 &
    slurm_pids+=($!)
    within 20 "munged does not start" test -S "$folder/munge/socket"
    slurmctld -D >"$folder/slurmctld.out" 2>&1 &
    slurm_pids+=($!)
    # Tests wait for jobs to be half done, which must not be over too soon on a large machine.
    taskset --cpu-list "$(two_cores)" slurmd -D >"$folder/slurmd.out" 2>&1 &
    slurm_pids+=($!)
    within 60 "the node does not come up" node_is_idle
}

node_is_idle() {
    [[ $(sinfo --noheader --format=%T 2>/dev/null | sort -u) == idle ]]
}

stop_slurm() {
    local pid
    if [[ ${#slurm_pids[@]} -eq 3 ]]; then
        timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
        for _ in {1..100}; do
            [[ -z $(timeout 10 squeue --noheader 2>/dev/null) ]] && break
            sleep 0.1
        done
    fi
    for pid in "${slurm_pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in "${slurm_pids[@]}"; do
        for _ in {1..50}; do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    slurm_pids=()
}

# within SECONDS COMPLAINT COMMAND…: waits until the command succeeds, or fails.
within() {
    local until=$((SECONDS + $1)) complaint=$2
    shift 2
    until "$@"; do
        if ((SECONDS >= until)); then
            echo "FAILED: $complaint" >&2
            return 1
        fi
        sleep 0.1
    done
}
