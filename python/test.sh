#!/usr/bin/env bash
# Builds the wheel, installs it into a virtual environment under target/, and runs its tests. Exit code 3: what that needs is
# not available here.
#
#     python/test.sh [ARGUMENTS OF PYTEST]
#
# PYTHON names the interpreter (3.10 or later; by default python3). If it has torch, transformers and accelerate, they are tested
# with, too. Without arguments, the same wheel is then tested on every other python3.N of the path, without torch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

unavailable() {
    echo "skipped: $1" >&2
    exit 3
}

interpreter="${PYTHON:-python3}"
environment=target/python-environment
python="$environment/bin/python"
"$interpreter" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || unavailable "\`$interpreter\` is no Python 3.10 with venv"
if [[ ! -e "$environment/ready" || "$(<"$environment/ready")" != "$interpreter" ]]; then
    rm -rf "$environment"
    "$interpreter" -m venv "$environment" || unavailable "a virtual environment cannot be made"
    # The packages of the interpreter come last: torch, transformers, pyarrow.
    folder="$("$interpreter" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    echo "$folder" >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/interpreter.pth"
    "$python" -m pip install --quiet --disable-pip-version-check 'maturin>=1.16,<2' numpy pytest ||
        unavailable "PyPI cannot be reached"
    echo "$interpreter" >"$environment/ready"
fi

rm -rf target/wheels
"$python" -m maturin build --quiet --manifest-path python/Cargo.toml --interpreter "$python" --out target/wheels
wheel="$(ls target/wheels/leadspan-*-abi3-*.whl)"
bytes="$(stat --format %s "$wheel")"
echo "$wheel: $((bytes / 1000000)) MB"
if ((bytes > 40000000)); then
    echo "error: the wheel has more than 40 MB" >&2
    exit 1
fi
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$wheel"
"$python" -m pytest -q -p no:cacheprovider python/tests "$@"
if (($#)); then exit; fi

for other in python3.{10..19}; do
    "$other" -c 'import ensurepip, venv' 2>/dev/null && [[ "$("$other" --version)" != "$("$python" --version)" ]] || continue
    environment="target/python-environments/$other"
    if [[ ! -e "$environment/ready" ]]; then
        rm -rf "$environment"
        "$other" -m venv "$environment" || unavailable "a virtual environment cannot be made"
        "$environment/bin/pip" install --quiet --disable-pip-version-check numpy pytest || unavailable "PyPI cannot be reached"
        touch "$environment/ready"
    fi
    echo "$other"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps --force-reinstall "$wheel"
    "$environment/bin/python" -m pytest -q -p no:cacheprovider python/tests
done
