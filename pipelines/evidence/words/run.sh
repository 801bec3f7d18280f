#!/usr/bin/env bash
# Runs the study on the second family (`docs/evidence.md`) in a folder, at the lowest priority: makes the problems, trains the teacher
# and the base student, captures, and trains and evaluates the students. Every step continues after a stop: run the same command again.
#
#   run.sh FOLDER models            problems, teacher, base student, and whether they count
#   run.sh FOLDER search            also the cases of study.toml, seeds 0 to 2
#   run.sh FOLDER winner 'WINNER'   also the winner of the small family, unless it is a case already, and the held-out problems. WINNER
#                                   is written as in study.toml, such as '{ lead_span = { growing = [0.1, 0.9] }, "replay.share" = 0.0 }'
#
# LEADSPAN names the program; by default it is the one on the PATH. JOBS is how many students are trained at the same
# time; by default as many as there are cores. PYTHON (python3) makes the environment in FOLDER/.venv. SCALE (1) divides the number of
# problems and makes the models tiny, to try the commands in minutes; such models solve nothing, and are not asked to.
set -euo pipefail
usage() { sed -n '5,8p' "$0" >&2; exit 1; }
[ $# -ge 2 ] || usage
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
program=$(command -v "${LEADSPAN:-leadspan}")
case $program in /*) ;; *) program=$PWD/$program ;; esac
jobs=${JOBS:-$(nproc)} scale=${SCALE:-1}
leadspan() { nice -n 19 "$program" "$@"; }

# Whether the problems are those that were published or, of another scale, those made before.
has_problems() {
    if [ "$scale" = 1 ]; then
        (cd "$folder" && sha256sum --check --quiet "$here/SHA256SUMS" 2> /dev/null)
    else
        [ "$(cat "$folder/scale" 2> /dev/null)" = "$scale" ]
    fi
}

prepare() {
    cp "$here"/{study,teacher,teacher-hard,base}.toml "$folder/"
    if ! has_problems; then
        if ! cmp -s "$here/requirements.txt" "$folder/.venv/requirements.txt"; then
            "${PYTHON:-python3}" -m venv --clear "$folder/.venv"
            "$folder/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$here/requirements.txt"
            cp "$here/requirements.txt" "$folder/.venv/requirements.txt"
        fi
        PYTHONDONTWRITEBYTECODE=1 nice -n 19 "$folder/.venv/bin/python" "$here/make_problems.py" "$folder" "$scale" |
            tee "$folder/lengths.txt"
        echo "$scale" > "$folder/scale"
        has_problems || { echo "error: the problems are not those of SHA256SUMS" >&2; exit 1; }
    fi
    cd "$folder"
}

models() {
    for model in teacher teacher-hard base; do
        leadspan prepare -c "$model.toml"
        leadspan train -c "$model.toml"
        for problems in test transfer; do
            leadspan evaluate -c study.toml --model "run-$model/model" \
                --set "evaluate.files=[\"$problems.jsonl\"]" --set "evaluate.dir=$model-$problems"
        done
    done
    [ "$scale" = 1 ] || return 0
    "$folder/.venv/bin/python" - {teacher-hard,base}-test/summary.json << 'END_OF_CHECK'
import json, sys
teacher, base = (json.load(open(path))["accuracy"] for path in sys.argv[1:])
print(f"teacher {teacher:.1%}, base student {base:.1%}")
if teacher < 0.6 or not 0.1 <= base <= 0.6 or base > teacher - 0.2:
    sys.exit("the second family does not count (docs/evidence.md says what then)")
END_OF_CHECK
}

report() {
    leadspan report "$@" --out words
    cp words/runs.csv words.csv
}

search() {
    leadspan precompute -c study.toml
    # One seed of every case first, and then the others.
    for seeds in "0" "0, 1, 2"; do
        leadspan sweep -c study.toml --jobs "$jobs" --set "sweep.seed=[$seeds]"
    done
    report runs
}

winner() {
    if grep -qF "    $1," study.toml; then
        echo "the winner is a case of study.toml already"
    else
        leadspan sweep -c study.toml --jobs "$jobs" --set "sweep.cases=[$1]" --set 'sweep.baselines=["equal_compute"]' --set sweep.dir=winner-runs
        report runs winner-runs
    fi
    # Every exported student answers the problems of held-out templates, lengths and ranges.
    local model
    for model in runs/*/model winner-runs/*/model; do
        [ -d "$model" ] || continue
        leadspan evaluate -c study.toml --model "$model" --set 'evaluate.files=["transfer.jsonl"]' \
            --set "evaluate.dir=transfer/$(basename "$(dirname "$model")")"
    done
    "$folder/.venv/bin/python" "$here/../held_out.py" words.csv transfer base-transfer > words-held-out.csv
}

case $2 in
    models) [ $# -eq 2 ] || usage; prepare; models ;;
    search) [ $# -eq 2 ] || usage; prepare; models; search ;;
    winner) [ $# -eq 3 ] || usage; prepare; models; search; winner "$3" ;;
    *) usage ;;
esac
