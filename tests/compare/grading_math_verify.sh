#!/usr/bin/env bash
# leadspan's built-in rules and its grader on math-verify against math-verify, over answers made up in the styles of public sets.
#
#     tests/compare/grading_math_verify.sh [--seed N] [--json]
#
# Makes tests/compare/.venv-grading if it does not exist (a few seconds and 80 MB), unless PYTHON names an interpreter that has
# pipelines/graders/requirements.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python="${PYTHON:-tests/compare/.venv-grading/bin/python}"
if [[ -z "${PYTHON:-}" && (! -x "$python" || -e tests/compare/.venv-grading/unfinished) ]]; then
    mkdir -p tests/compare/.venv-grading
    touch tests/compare/.venv-grading/unfinished
    python3 -m venv tests/compare/.venv-grading
    "$python" -m pip install --quiet --disable-pip-version-check --requirement pipelines/graders/requirements.txt
    rm tests/compare/.venv-grading/unfinished
fi
cargo build --release --quiet -p leadspan-evaluate --example grade
"$python" tests/compare/grading_math_verify.py --built-in target/release/examples/grade \
    --grader pipelines/graders/math_verify_grader.py "$@"
