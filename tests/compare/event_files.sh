#!/usr/bin/env bash
# Whether TensorBoard shows of a run what its metrics.jsonl says, also of one that was killed and resumed.
#
#     tests/compare/event_files.sh [VERSION]
#
# Fetches TensorBoard (2.20.0) from PyPI, 30 MB. `LEADSPAN` names the program; without it, it is built. Exit codes: 0 it does,
# 1 it does not, 3 TensorBoard cannot be had here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[[ "${1:-}" != --help && "${1:-}" != -h ]] || { sed -n '2,7s/^# \{0,1\}//p' tests/compare/event_files.sh; exit 0; }
version="${1:-2.20.0}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! python3 -m venv "$work/python" || ! "$work/python/bin/python" -m pip install --quiet --disable-pip-version-check \
    "tensorboard==$version" "setuptools<81"; then
    echo "skipped: TensorBoard cannot be installed here" >&2
    exit 3
fi
if [[ -z "${LEADSPAN:-}" ]]; then
    cargo build --release --locked
    LEADSPAN=target/release/leadspan
fi
program=$(realpath "$LEADSPAN")
script=$(realpath tests/compare/event_files.py)
cd "$work"
PYTHONDONTWRITEBYTECODE=1 python/bin/python "$script" "$program"
