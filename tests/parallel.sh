#!/usr/bin/env bash
# Trains one student in several processes under a real OpenMPI, and holds it to what one process trains: tests/parallel.sh [KILLS]
#
# Compares the losses of two and four processes with those of one, and the students of two runs of the same number of processes
# bit by bit. Stops a process by SIGTERM, and all as a pod does. Kills one with SIGKILL at KILLS (10) moments of one run, and lets another number of
# processes resume each time. Gives eight processes wrong settings, of which the log must have the message each time. Compares the time of two processes of one thread with that of one process of two threads. Where a
# Slurm is installed, `srun` starts two processes as well. Prints a table at the end.
#
# LEADSPAN names a program that was built with `--features mpi`; unless it is set, that is built here, and target/release/leadspan
# is left as it was. OpenMPI is Debian's, and is not installed by this script. Takes five minutes on two cores that are busy with other
# things as well, after a build of 80 seconds of processor time.
#
# GPUS=2 trains on so many GPUs instead of on the CPU, with a program that was built with `--features cuda,nccl,mpi`. Gradients of two
# processes then go through NCCL, and those of more processes, which share GPUs, through host memory.
#
# Exit codes: 0 what should hold was seen to hold; 1 it did not, and logs are shown; 3 skipped, for a reason that is printed.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=cluster/slurm.sh
source "$repository/tests/cluster/slurm.sh"
kills=${1:-10}
gpus=${GPUS:-0}
RANDOM=1

command -v mpirun >/dev/null || skip "no OpenMPI here: apt-get install openmpi-bin libopenmpi-dev libclang-dev"
[[ "$(mpirun --version 2>&1)" == *"Open MPI"* ]] || skip "\`mpirun\` is not that of OpenMPI"
if [[ -z "${LEADSPAN:-}" ]]; then
    command -v mpicc >/dev/null || skip "no compiler for MPI here: apt-get install libopenmpi-dev libclang-dev"
    [[ -n "${LIBCLANG_PATH:-}" ]] || ldconfig -p | grep -q libclang || compgen -G "/usr/lib/llvm-*/lib/libclang*.so*" >/dev/null ||
        skip "no libclang here: apt-get install libclang-dev"
fi
make_work
leadspan=$work/leadspan
if [[ -n "${LEADSPAN:-}" ]]; then
    cp "$(realpath "$LEADSPAN")" "$leadspan"
else
    # The file has a second name in a folder of cargo's, so it is replaced, and never written to.
    built=$repository/target/release/leadspan
    if [[ -e "$built" ]]; then cp -p "$built" "$work/before"; fi
    features=mpi
    if [[ $gpus -gt 0 ]]; then features=cuda,nccl,mpi; fi
    cargo build --release --locked --manifest-path "$repository/Cargo.toml" --features "$features"
    cp "$built" "$leadspan"
    if [[ -e "$work/before" ]]; then cp -p "$work/before" "$built.before" && mv -f "$built.before" "$built"; fi
    step "built"
fi
cd "$work"

# Processes may be root, and more than there are cores. In containers the kernel does not let processes read each other's memory.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_mpi_yield_when_idle=1 RAYON_NUM_THREADS=1
# By a line on standard output NCCL shows that it is used.
export NCCL_DEBUG=VERSION

# train PROCESSES DIR [ARGUMENTS…]: under mpirun, or what MPIRUN names instead, unless it is one.
train() {
    local count=$1 dir=$2
    shift 2
    local line=("$leadspan" train -c pipeline.toml --set "train.dir=\"$dir\"" "$@")
    if [[ $gpus -gt 0 ]]; then
        # Each process sees one GPU.
        # shellcheck disable=SC2016
        line=(bash -c 'CUDA_VISIBLE_DEVICES=$((${OMPI_COMM_WORLD_LOCAL_RANK:-0} % $0)) exec "$@"' "$gpus" "${line[@]}")
    fi
    if [[ $count -gt 1 ]]; then line=("${MPIRUN:-mpirun}" -np "$count" "${line[@]}"); fi
    exec "${line[@]}"
}

# ends CODE PROCESSES DIR [ARGUMENTS…]: it trains and ends with this code.
ends() {
    local expected=$1 code=0
    shift
    (train "$@") >"$2.out" 2>"$2.log" || code=$?
    [[ $code -eq $expected ]] || fail "$1 processes in \`$2\` ended with $code, not $expected"
}

# alike DIR OTHER: the largest difference of losses, which must be within 1e-5, in step by step equal counts.
alike() {
    python3 - "$1/metrics.jsonl" "$2/metrics.jsonl" <<'PYTHON'
import json, sys

one, other = ([json.loads(line) for line in open(path)] for path in sys.argv[1:])
assert len(one) == len(other), (len(one), len(other))
largest = 0.0
for a, b in zip(one, other):
    for key in ("event", "step", "steps", "epoch", "tokens", "positions", "training_flops", "cache_bytes_read", "learning_rate"):
        assert a.get(key) == b.get(key), (a["step"], key, a.get(key), b.get(key))
    for key in ("loss", "loss_cross_entropy", "loss_forward_kl", "gradient_norm", "cross_entropy", "forward_kl"):
        if a.get(key) is not None:
            largest = max(largest, abs(a[key] - b[key]) / (1 + abs(a[key])))
assert largest <= 1e-5, largest
print(f"{largest:.1e}")
PYTHON
}

# speed DIR: its tokens per second.
speed() {
    python3 -c "import json; print(round(json.load(open('$1/summary.json'))['tokens_per_second']))"
}

step "a cache"
cp -r "$repository/tests/fixtures/tiny-teacher" teacher
python3 - "$repository/tests/fixtures/tiny-teacher-text.jsonl" text.jsonl <<'PYTHON'
import json, sys

rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
with open(sys.argv[2], "w", encoding="utf-8") as out:
    for number in range(240):
        row = dict(rows[number % len(rows)], id=f"row-{number}")
        row["question"] += " Again." * (number // len(rows))
        if number % 3 == 0:
            row["chain_of_thought"] = "12 + 30 = 42. " * (5 + number % 40)
        out.write(json.dumps(row) + "\n")
for name, hidden, inner, layers in (("student", 64, 176, 2), ("large", 256, 704, 4)):
    config = dict(model_type="llama", vocab_size=320, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
                  num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=1e4, max_position_embeddings=4096,
                  tie_word_embeddings=True, hidden_act="silu")
    json.dump(config, open(f"{name}.json", "w"))
PYTHON
cat >pipeline.toml <<'TOML'
[teacher]
model = "teacher"

[data]
files = ["text.jsonl"]
format = "columns"
validation = 24
seed = 7

[cache]
dir = "cache"
top_k = 16

[student]
config = "student.json"

[train]
dir = "run"
steps = 54
learning_rate = 1e-3
batch_samples = 8
checkpoint_steps = 4
TOML
if [[ $gpus -gt 0 ]]; then echo 'device = "cuda:0"' >>pipeline.toml; fi
"$leadspan" precompute -c pipeline.toml >precompute.out 2>precompute.log
ends 0 1 one
seen "one process, which no launcher started, trains $(grep -c '"event":"step"' one/metrics.jsonl) steps"

step "two and four processes, each twice"
declare -A difference
for count in 2 4; do
    ends 0 "$count" "of-$count"
    ends 0 "$count" "of-$count-again"
    difference[$count]=$(alike one "of-$count")
    cmp "of-$count/model/model.safetensors" "of-$count-again/model/model.safetensors"
    seen "$count processes: losses within ${difference[$count]} of one, the same bits twice"
    [[ $(grep -c '^{"leadspan":"train","outcome":"done"' "of-$count.log") -eq 1 ]] || fail "not one closing line"
done

if [[ $gpus -gt 1 ]]; then
    grep -q "NCCL version" of-2.out || fail "two processes on two GPUs did not use NCCL"
    # Two processes on one GPU, which NCCL cannot connect.
    gpus=1 ends 0 2 shared
    ! grep -q "NCCL version" shared.out || fail "two processes on one GPU used NCCL"
    cmp of-2/model/model.safetensors shared/model/model.safetensors
    seen "NCCL gives the bits of host memory and MPI"
fi

# lines DIR: lines of metrics so far.
lines() {
    if [[ -e "$1/metrics.jsonl" ]]; then wc -l <"$1/metrics.jsonl"; else echo 0; fi
}
# A process of the launch whose mpirun has this id; the second is not the first one, which writes.
ranks_of() {
    pgrep -P "$1" -x leadspan || true
}
gone() {
    ! kill -0 "$1" 2>/dev/null
}
# starts PROCESSES DIR STEPS [ARGUMENTS…]: it trains, and its first process waits after so many steps until it is asked to stop or
# the file `held` is removed, so that what follows does not depend on how fast the machine is. $launcher is the mpirun.
starts() {
    local steps=$3
    rm -f held
    (
        export LEADSPAN_TEST_HOLD="steps:$steps:$work/held"
        train "$1" "$2" "${@:4}"
    ) >"$2.out" 2>"$2.log" &
    launcher=$!
    background_pids=("$launcher")
    within 120 "training in \`$2\` does not begin" test -e held
}

step "SIGTERM to the second of two processes"
starts 2 stopped 10
kill -TERM "$(ranks_of "$launcher" | sed -n 2p)"
rm held
code=0
wait "$launcher" || code=$?
[[ $code -eq 75 ]] || fail "mpirun ended with $code, not 75"
after=$(lines stopped)
ends 0 2 stopped
cmp of-2/model/model.safetensors stopped/model/model.safetensors
seen "all stopped with 75 after $((after - 1)) steps, and the run resumed to the same bits"

# checkpoint DIR: the step after which the last checkpoint was written.
checkpoint() {
    echo $((10#$(find "$1/checkpoints" -name '*.json' | sort | tail -1 | grep -o '[0-9]*' | tail -1)))
}

step "SIGTERM to mpirun"
starts 2 told 10
kill -TERM "$launcher"
code=0
wait "$launcher" || code=$?
[[ $code -ne 0 ]] || fail "mpirun ended with 0 although it was stopped"
told=$(checkpoint told)
ends 0 2 told
cmp of-2/model/model.safetensors told/model/model.safetensors
seen "mpirun ended with $code, the last checkpoint was after step $told, and the run resumed to the same bits"

step "SIGTERM to pipelines/kubernetes/mpirun.sh"
MPIRUN=$repository/pipelines/kubernetes/mpirun.sh starts 2 pod 10
began=$SECONDS
kill -TERM "$launcher"
code=0
wait "$launcher" || code=$?
[[ $code -eq 75 ]] || fail "mpirun.sh ended with $code, not 75"
took=$((SECONDS - began))
[[ $took -lt 30 ]] || fail "a pod would have been killed after 30 seconds"
pod=$(checkpoint pod)
[[ $pod -ge 10 ]] || fail "the last checkpoint was after step $pod, before the stop"
grep -q '^{"leadspan":"train","outcome":"stopped","exit_code":75' pod.log || fail "no closing line"
MPIRUN=$repository/pipelines/kubernetes/mpirun.sh ends 0 2 pod
cmp of-2/model/model.safetensors pod/model/model.safetensors
seen "all stopped with 75 in $took s with a checkpoint after step $pod, and the run resumed to the same bits"

step "SIGKILL to a process at $kills moments of one run"
resumed=""
numbers=(2 4 2 3)
# Long enough that the last process to be killed is still at work.
long=(--set train.steps=400 --set train.checkpoint_steps=1)
ends 0 1 long "${long[@]}"
for ((kill = 0; kill < kills; kill++)); do
    count=${numbers[kill % 4]}
    starts "$count" killed 3 "${long[@]}"
    all=$(ranks_of "$launcher")
    victim=$((RANDOM % count))
    # Any moment of one of the next few steps.
    rm held
    sleep "0.0$((RANDOM % 90 + 10))"
    kill -9 "$(sed -n "$((victim + 1))p" <<<"$all")" || fail "the run was over before the kill"
    code=0
    wait "$launcher" || code=$?
    [[ $code -ne 0 ]] || fail "mpirun ended with 0 although a process was killed"
    for pid in $all; do
        within 30 "process $pid is left" gone "$pid"
    done
    resumed+=" $count"
done
ends 0 1 killed "${long[@]}"
killed=$(alike long killed)
seen "killed in runs of$resumed processes, and one at the end: losses within $killed of one; no process was left"

step "what is refused"
ends 1 2 refused --set train.batch_samples=1
grep -q '2 processes cannot share the steps of a run in which `train.batch_samples` is 1' refused.log || fail "no reason"
[[ ! -e refused ]] || fail "something was written"
code=0
(train 2 killed "${long[@]}" --set train.batch_samples=4) >other.out 2>other.log || code=$?
[[ $code -eq 1 ]] && grep -q 'train.batch_samples' other.log || fail "another batch was not refused ($code)"
code=0
line=("$leadspan" train -c pipeline.toml)
mpirun -np 1 "${line[@]}" --set 'train.dir="here"' : -np 1 "${line[@]}" --set 'train.dir="there"' >folder.out 2>folder.log || code=$?
[[ $code -eq 1 ]] && grep -q 'process 1 of 2 has another `train.dir` than process 0, which has `here`' folder.log ||
    fail "another folder was not refused ($code)"
[[ ! -e here && ! -e there ]] || fail "something was written"
seen "more processes than samples, another batch, another folder: exit code 1, with the reason"

# refused WHAT PROCESSES MESSAGE [ARGUMENTS…]: each of ten times, the log has one error, with this message, and the right closing line.
refused() {
    local what=$1 count=$2 message=$3 try
    for try in {1..10}; do
        ends 1 "$count" wrong "${@:4}"
        [[ $(grep -cE '^(process [0-9]+ of [0-9]+: )?error: ' wrong.log) -eq 1 ]] || fail "not one error about $what, try $try"
        grep -qF -- "$message" wrong.log || fail "not the message about $what, try $try"
        grep -q '^{"leadspan":"train","outcome":"failed","exit_code":1' wrong.log || fail "the closing line about $what is wrong, try $try"
        ! grep -q 'run the same command again' wrong.log || fail "processes with $what say that they were stopped, try $try"
        [[ ! -e wrong ]] || fail "something was written"
    done
    seen "$what: the message and exit code 1, ten times in $count processes"
}
refused "a wrong setting" 8 lead_span --set 'train.lead_span={mixture=[[0.3,0.7]]}'
refused "an unknown key" 8 learning_rat --set train.learning_rat=1
refused "no cache" 4 nowhere --set 'cache.dir="nowhere"'
refused "a student that is not there" 4 nowhere.json --set 'student.config="nowhere.json"'

step "two processes of one thread, and one of two"
large=(--set train.steps=27 --set 'student.config="large.json"')
ends 0 2 fast-2 "${large[@]}"
RAYON_NUM_THREADS=2 ends 0 1 fast-1 "${large[@]}"

if [[ -z "$(slurm_missing)" ]]; then
    step "srun on a real Slurm"
    start_slurm "$work/slurm" 4
    if srun --mpi=list 2>&1 | grep -q pmix; then
        srun --kill-on-bad-exit=1 --mpi=pmix -n 2 "$leadspan" train -c pipeline.toml --set 'train.dir="srun"' >srun.out 2>srun.log
        cmp of-2/model/model.safetensors srun/model/model.safetensors
        seen "srun --mpi=pmix -n 2: the bits of mpirun -np 2"
    else
        echo "skipped: this Slurm knows no PMIx"
    fi
    code=0
    srun --kill-on-bad-exit=1 --mpi=none -n 2 "$leadspan" train -c pipeline.toml --set 'train.dir="none"' >none.out 2>none.log || code=$?
    # OpenMPI may end the program before that can say it.
    [[ $code -ne 0 && ! -e none ]] &&
        grep -qE 'but for the MPI that this program uses it is process 0 of 1|not built with SLURM' none.log ||
        fail "processes that do not know each other were not refused ($code)"
    seen "srun without PMIx: refused, with the reason"
fi

printf '\n%-34s %10s %10s %10s\n' "" "1 process" "2" "4"
printf '%-34s %10s %10s %10s\n' "largest difference of losses" "" "${difference[2]}" "${difference[4]}"
printf '%-34s %10s %10s %10s\n' "the same bits twice" "" yes yes
printf '%-34s %10s %10s\n' "tokens/s on two threads in all" "$(speed fast-1)" "$(speed fast-2)"
printf '%-34s %10s\n' "killed and resumed" "$kills times"
step "all seen"
