#!/usr/bin/env bash
# Makes the quickstart's model family and problems with leadspan itself, and puts them into data/quickstart.
# The same processor kind gives the same bytes; what it took is in README.md.
set -euo pipefail
cd "$(dirname "$0")"

python3 make_problems.py work
leadspan() { cargo run --release --quiet --manifest-path ../../Cargo.toml -- "$@"; }
for model in teacher base; do
    leadspan prepare -c "$model.toml"
    leadspan train -c "$model.toml"
    for problems in test easy-test; do
        leadspan evaluate -c evaluate.toml --model "work/run-$model/model" \
            --set "evaluate.files=[\"work/$problems.jsonl\"]" --set "evaluate.dir=work/$model-$problems"
    done
done

out=../../data/quickstart
mkdir -p "$out"/{teacher,base,problems}
for model in teacher base; do
    for file in config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json; do
        cp "work/run-$model/model/$file" "$out/$model/$file"
    done
done
cp work/{hard,known,test}.jsonl "$out/problems/"
(cd "$out" && sha256sum teacher/* base/* problems/*) > work/SHA256SUMS
diff work/SHA256SUMS SHA256SUMS && echo "data/quickstart is what was published"
