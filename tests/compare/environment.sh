# The virtual environment of these scripts, made where it is not there; sourced from the root of the repository. Sets `python`;
# PYTHON names another environment's interpreter.

python="${PYTHON:-tests/compare/.venv/bin/python}"
# An environment with the mark in it is half made; one without it is whole, also where it was made by hand.
if [[ -z "${PYTHON:-}" && (! -x "$python" || -e tests/compare/.venv/unfinished) ]]; then
    echo "making tests/compare/.venv (downloads 2.9 GB)" >&2
    mkdir -p tests/compare/.venv
    touch tests/compare/.venv/unfinished
    python3.11 -m venv tests/compare/.venv
    "$python" -m pip install --quiet --disable-pip-version-check --requirement tests/compare/requirements.txt
    rm tests/compare/.venv/unfinished
fi
