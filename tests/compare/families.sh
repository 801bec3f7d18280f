#!/usr/bin/env bash
# Prints how far models of every family are from what transformers computes: hidden states, log-probabilities, gradients, exported
# students, GGUF files. The numbers of transformers are those of tests/fixtures; exported students are loaded in transformers.
#
#     tests/compare/families.sh
#
# Makes tests/compare/.venv where it is not there; PYTHON names another environment's interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[[ $# -eq 0 ]] || { sed -n '2,7s/^# \{0,1\}//p' "tests/compare/families.sh"; exit 1; }
source tests/compare/environment.sh
gradients="$(mktemp)"
trap 'rm -f "$gradients"' EXIT
cargo test --release --quiet -p leadspan-train --lib losses_and_every_gradient -- --nocapture >"$gradients" || {
    cat "$gradients" >&2
    exit 1
}
cargo build --release --quiet -p leadspan-model --example families
"$python" tests/compare/families.py target/release/examples/families "$gradients"
