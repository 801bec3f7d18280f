#!/usr/bin/env bash
# Exports and imports of caches against other programs' readers.
#
#     tests/compare/hub.sh [--kills N]
#
# Captures the tiny teacher of the tests, and then
# - reads `cache export --format dataset` with `datasets`, DuckDB, polars and pandas, and compares every value with what
#   read_shards.py decodes from the cache;
# - unpacks `cache export --format distillkit` with numpy and compares it with the same values;
# - imports both, and compares what read_shards.py decodes from the new caches;
# - imports what DistillKit's own code wrote (crates/cache/tests/distillkit), and compares the caches with what its own
#   decompressor gave;
# - kills an import with signal 9 N times (default 10), continues it, and compares the bytes of its shards.
#
# Needs the program (LEADSPAN names it; by default target/release/leadspan). Makes target/hub-venv if it does not exist (650 MB);
# without a network it ends with exit code 3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

leadspan="$(realpath "${LEADSPAN:-target/release/leadspan}")"
venv=target/hub-venv
if [[ ! -x $venv/bin/python || -e $venv/unfinished ]]; then
    mkdir -p $venv
    touch $venv/unfinished
    python3 -m venv $venv
    $venv/bin/python -m pip install --quiet --disable-pip-version-check datasets duckdb polars pandas pyarrow numpy || {
        echo "skipped: the packages cannot be installed without a network" >&2
        exit 3
    }
    rm $venv/unfinished
fi
HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 exec $venv/bin/python tests/compare/hub.py --leadspan "$leadspan" "$@"
