#!/usr/bin/env bash
# Kills `cache cut` and `cache merge` with signal 9 at ten moments each, and compares the results with undisturbed ones.
#
#     tests/compare/cutting.sh CACHE…
#
# The program is $LEADSPAN, or target/release/leadspan.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/compare/environment.sh

program="$(realpath "${LEADSPAN:-target/release/leadspan}")"
[[ -x "$program" && $# -gt 0 ]] || { echo "usage: tests/compare/cutting.sh CACHE…, with \`$program\` built" >&2; exit 1; }
place="$(mktemp -d "${TMPDIR:-/tmp}/leadspan-cutting-XXXXXX")"
trap 'rm -rf "$place"' EXIT
for cache in "$@"; do
    echo "$cache"
    mkdir "$place/made"
    "$python" tests/compare/cutting.py "$program" "$cache" "$place/made"
    rm -r "$place/made"
done
