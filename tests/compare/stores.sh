#!/usr/bin/env bash
# Pushes and pulls caches to and from a real S3 server (moto, from PyPI), kills both ten times, and times 2,000 small shards.
#
#     tests/compare/stores.sh
#
# Needs Python 3 with venv, and network once to install moto[server] under target/. Exit code 3 if that cannot be installed. The
# program is $LEADSPAN, or target/release/leadspan. Some two minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

program="$(realpath "${LEADSPAN:-target/release/leadspan}")"
[[ -x "$program" ]] || { echo "error: build \`$program\` first" >&2; exit 1; }
environment="target/stores-venv"
if [[ ! -x "$environment/bin/moto_server" ]]; then
    python3 -m venv "$environment" && "$environment/bin/pip" install --quiet 'moto[server]>=5' blake3 || {
        echo "skipped: moto cannot be installed" >&2
        exit 3
    }
fi
place="$(mktemp -d "${TMPDIR:-/tmp}/leadspan-stores-XXXXXX")"
server=""
trap '[[ -z "$server" ]] || kill "$server"; rm -rf "$place"' EXIT

port="$("$environment/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
"$environment/bin/moto_server" -H 127.0.0.1 -p "$port" > "$place/server.log" 2>&1 &
server=$!
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
export AWS_ENDPOINT_URL_S3="http://127.0.0.1:$port" NO_PROXY=127.0.0.1
for _ in $(seq 100); do
    curl -s -o /dev/null "$AWS_ENDPOINT_URL_S3" && break
    sleep 0.2
done
curl -s -f -o /dev/null -X PUT "$AWS_ENDPOINT_URL_S3/caches"

exec "$environment/bin/python" tests/compare/stores.py "$program" "$place"
