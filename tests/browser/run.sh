#!/usr/bin/env bash
# Makes reports of made-up runs and looks at them with a real browser: tests/browser/run.sh [SCREENSHOTS]
#
# Needs Python 3.10 and Chromium (`CHROMIUM` names the program; Debian: apt-get install chromium). Where there is none, it says so
# and skips. `LEADSPAN` names the program under test; without it, it is built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
if [ -z "$chromium" ] || ! command -v python3 >/dev/null; then
    echo "skipped: no Chromium and Python 3 here; install them, or name the browser in CHROMIUM"
    exit 0
fi
if [ -z "${LEADSPAN:-}" ]; then
    (cd "$here/../.." && cargo build --release)
    LEADSPAN=$here/../../target/release/leadspan
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 "$here/make_runs.py" "$work"
failed=0
for runs in full bare; do
    "$LEADSPAN" report "$work/$runs" --out "$work/report/$runs" >/dev/null
    PYTHONDONTWRITEBYTECODE=1 timeout 120 python3 "$here/look.py" "$chromium" "$work/report/$runs/index.html" "$@" || failed=1
done
exit $failed
