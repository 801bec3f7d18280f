#!/usr/bin/env bash
# Runs the study on the small family (`docs/evidence.md`) in a folder, at the lowest priority. Every step continues after a stop: run
# the same command again.
#
#   run.sh FOLDER search             choose: every case of study.toml, seeds 0 to 4
#   run.sh FOLDER confirm 'WINNER'   confirm: new seeds and problems, and the second kind of problem. WINNER is the chosen case as in
#                                    study.toml, such as '{ lead_span = { growing = [0.1, 0.9] }, "replay.share" = 0.0 }'
#
# LEADSPAN names the program; by default it is the one on the PATH. JOBS is how many students are trained at the same time: by default
# as many as there are cores, because students this small gain little from a second thread.
set -euo pipefail
usage() { sed -n '5,7p' "$0" >&2; exit 1; }
[ $# -ge 2 ] || usage
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
program=$(command -v "${LEADSPAN:-leadspan}")
case $program in /*) ;; *) program=$PWD/$program ;; esac
jobs=${JOBS:-$(nproc)}
leadspan() { nice -n 19 "$program" "$@"; }

prepare() {
    cp "$here/study.toml" "$folder/"
    cp -r "$here/../../data/quickstart/teacher" "$here/../../data/quickstart/base" "$folder/"
    if ! (cd "$folder" && sha256sum --check --quiet "$here/SHA256SUMS" > /dev/null 2>&1); then
        nice -n 19 python3 "$here/make_problems.py" "$folder"
        (cd "$folder" && sha256sum --check --quiet "$here/SHA256SUMS")
    fi
    cd "$folder"
}

# The report of some folders of runs, and its table.
report() {
    local name=$1
    shift
    leadspan report "$@" --out "$name"
    cp "$name/runs.csv" "$name.csv"
}

search() {
    leadspan precompute -c study.toml
    # One seed of every case first, and then more of them.
    for seeds in "0" "0, 1, 2" "0, 1, 2, 3, 4"; do
        leadspan sweep -c study.toml --jobs "$jobs" --set "sweep.seed=[$seeds]"
    done
    report search runs
}

# The cases with which the winner is compared: A1, A2, A3, B1 and G1 to G4.
confirm() {
    local winner=$1
    local cases="[$winner, { lead_span_proportion = 1.0 }, { lead_span_proportion = 0.5 }, { lead_span_proportion = 0.25 },
        { lead_span_proportion = 1.0, \"replay.share\" = 0.0 }, { lead_span_proportion = 1.0, epochs = 1 },
        { lead_span_proportion = 1.0, \"replay.share\" = 0.2, epochs = 1 },
        { lead_span_proportion = 1.0, \"replay.share\" = 0.0, epochs = 1 },
        { lead_span_proportion = 1.0, \"replay.share\" = 0.0, epochs = 2 }]"
    cases=${cases//$'\n'/ }
    local common=(--set "sweep.cases=$cases" --set "sweep.seed=[100, 101, 102, 103, 104]")
    leadspan precompute -c study.toml
    leadspan sweep -c study.toml --jobs "$jobs" "${common[@]}" --set 'evaluate.files=["confirm.jsonl"]' --set sweep.dir=confirm-runs
    report confirm confirm-runs

    # The second kind of problem: its teacher and its base student are made as the quickstart's were.
    cp "$here/../quickstart/teacher.toml" "$here/../quickstart/base.toml" clock/
    for model in teacher base; do
        leadspan prepare -c "clock/$model.toml"
        leadspan train -c "clock/$model.toml"
    done
    local clock=(
        --set teacher.model=clock/work/run-teacher/model --set student.model=clock/work/run-base/model
        --set 'data.files=["clock/work/hard.jsonl"]' --set 'replay.files=["clock/work/known.jsonl"]'
        --set 'evaluate.files=["clock/work/test.jsonl"]' --set cache.dir=clock/cache --set sweep.dir=clock/runs
    )
    for model in teacher base; do
        leadspan evaluate -c study.toml "${clock[@]}" --model "clock/work/run-$model/model" --set "evaluate.dir=clock/$model-answers"
    done
    python3 - clock/{teacher,base}-answers/summary.json << 'END'
import json, sys
teacher, base = (json.load(open(path))["accuracy"] for path in sys.argv[1:])
if teacher < 0.9 or not 0.1 <= base <= 0.7:
    sys.exit(f"the second kind does not count: teacher {teacher}, base student {base} (docs/evidence.md says what then)")
END
    leadspan precompute -c study.toml "${clock[@]}"
    leadspan sweep -c study.toml --jobs "$jobs" "${common[@]}" "${clock[@]}"
    report clock/confirm clock/runs
}

case $2 in
    search) [ $# -eq 2 ] || usage; prepare; search ;;
    confirm) [ $# -eq 3 ] || usage; prepare; confirm "$3" ;;
    *) usage ;;
esac
