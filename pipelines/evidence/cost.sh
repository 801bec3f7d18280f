#!/usr/bin/env bash
# Measures what both stages cost at half of every sequence and at the whole of it, and offline against online distillation, and writes
# the table FOLDER/cost.md and the numbers that it is made of, FOLDER/cost.csv. Every step continues after a stop; a step that was stopped counts only its last part, so start such a step
# again with an empty folder.
#
#   cost.sh FOLDER
#
# Models and problems are those of `pipelines/smollm2-gsm` (SmolLM2-135M-Instruct teaches six of its own layers): run its prepare.sh first.
# ROWS (320) is how many of its problems are read, a sixteenth of them held out. The numbers are what the program reports for each command:
# run it while the machine does nothing else. LEADSPAN names the program; by default it is the one on the PATH. With TRAIN_STEP, the program
# of leadspan-train's example `train_step`, the online step is measured, too; otherwise it is computed from both stages.
set -euo pipefail
[ $# -eq 1 ] || { sed -n '6p' "$0" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
from=$(cd "$here/../smollm2-gsm" && pwd)
[ -s "$from/model/teacher.gguf" ] && [ -s "$from/text/train.jsonl" ] || { echo "error: run $from/prepare.sh first" >&2; exit 1; }
program=$(command -v "${LEADSPAN:-leadspan}")
case $program in /*) ;; *) program=$PWD/$program ;; esac
train_step=${TRAIN_STEP:+$(realpath "$TRAIN_STEP")}
mkdir -p "$1"
cd "$1"
rows=${ROWS:-320}
head -n "$rows" "$from/text/train.jsonl" > rows.new
if [ -e rows.jsonl ] && ! cmp -s rows.new rows.jsonl; then
    echo "error: $1 has measurements of other problems: name an empty folder" >&2
    exit 1
fi
mv rows.new rows.jsonl
cat > cost.toml << TOML
[teacher]
model = "$from/model/teacher.gguf"
[data]
files = ["rows.jsonl"]
format = "columns"
max_tokens = 1024
validation = 0.0625
[cache]
dir = "cache-1.0"
top_k = 64
[student]
model = "$from/model/teacher.gguf"
layers = [0, 6, 12, 18, 24, 29]
[train]
dir = "run"
lead_span_proportion = 0.25
learning_rate = 5e-4
epochs = 1
batch_samples = 8
TOML
# Each command's result is one JSON object in a file; a command whose file is there is done. A capture of part of the samples is no
# measurement, so each has a cache of its own that is made in one go.
did() { # name, command…
    [ -s "$1.json" ] && return
    "$program" "${@:2}" --json > "$1.new"
    mv "$1.new" "$1.json"
}
for p in 0.25 0.5 0.75 1.0; do
    if [ ! -s "capture-$p.json" ]; then
        rm -rf "cache-$p"
        did "prepare-$p" prepare -c cost.toml --set "cache.dir=\"cache-$p\""
        did "capture-$p" precompute -c cost.toml --set "cache.dir=\"cache-$p\"" --proportion "$p"
    fi
done
for p in 0.25 0.5 0.75 1.0; do
    did "train-$p" train -c cost.toml --set "train.dir=\"run-$p\"" --set "train.lead_span_proportion=$p"
done
if [ -n "$train_step" ]; then
    for p in 0.5 1.0; do
        for way in offline online; do
            [ -s "step-$way-$p.json" ] && continue
            flags=()
            [ "$way" = offline ] || flags=(--online)
            "$train_step" cache-1.0 --shape smollm2-6 --steps 6 --warmup 1 --proportion "$p" "${flags[@]}" --json > step.new
            mv step.new "step-$way-$p.json"
        done
    done
fi
python3 "$here/cost.py" . > cost.md
cat cost.md
