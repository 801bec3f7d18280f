#!/usr/bin/env python3
"""Writes Cargo.toml beside this file: every external package whose features depend on which crate of the workspace is built.

    crates/features/update.py            # after a change of dependencies
    crates/features/update.py --check    # fails if building one crate would build a package again, with other features

The features are those of the whole workspace with its tests, as cargo's own list of compilation units has them.
"""
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
MANIFEST = HERE / "Cargo.toml"
HEAD = MANIFEST.read_text().split("# Written by update.py")[0]


def features(*selection, host=False):
    """The features with which each external package is built for these crates and their tests, or for their macros."""
    command = ["cargo", "test", "--release", "--no-run", *selection, "--unit-graph", "-Z", "unstable-options"]
    # The list of units is an unstable output of the stable compiler's cargo.
    environment = dict(os.environ, RUSTC_BOOTSTRAP="1")
    graph = json.loads(subprocess.run(command, check=True, capture_output=True, env=environment, cwd=HERE).stdout)
    found = {}
    for unit in graph["units"]:
        kind = unit["target"]["kind"][0]
        # Macros and what they stand on are built without optimisation, everything else with it.
        is_wanted = (unit["profile"]["opt_level"] == "0") == host and kind not in ("custom-build", "proc-macro")
        if "path+file" not in unit["pkg_id"] and unit["mode"] == "build" and is_wanted:
            name, version = unit["pkg_id"].rpartition("#")[2].split("@")
            found.setdefault((name, version), set()).update(unit["features"])
    return found


def crates():
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"], check=True, capture_output=True, cwd=HERE
    )
    return sorted(package["name"] for package in json.loads(metadata.stdout)["packages"])


def lines(packages):
    seen, found = set(), []
    for (name, version), enabled in sorted(packages.items()):
        major, minor = version.split(".")[:2]
        key = name if name not in seen else f"{name}-{major}-{minor}"
        seen.add(name)
        parts = [] if key == name else [f'package = "{name}"']
        parts += [f'version = "{major}.{minor}"', "default-features = false"]
        if enabled:
            parts.append("features = [" + ", ".join(f'"{feature}"' for feature in sorted(enabled)) + "]")
        found.append(f"{key} = {{ {', '.join(parts)} }}\n")
    return "".join(found)


def write(target, host):
    MANIFEST.write_text(
        f"{HEAD}# Written by update.py\n[dependencies]\n{lines(target)}\n[build-dependencies]\n{lines(host)}"
    )


def differing(host):
    """What is built with other features for one crate than for the whole workspace, with the latter."""
    whole, found = features("--workspace", host=host), {}
    for crate in crates():
        for package, enabled in features("-p", crate, host=host).items():
            if enabled != whole.get(package):
                found[package] = whole[package]
    return found


if __name__ == "__main__":
    if "--check" in sys.argv:
        wrong = differing(False) | differing(True)
        for name, version in sorted(wrong):
            print(f"{name} {version} is built with other features for one crate alone", file=sys.stderr)
        sys.exit("run crates/features/update.py" if wrong else 0)
    # Features that are switched on here can switch on others, so until nothing changes.
    target, host = {}, {}
    before = None
    while before != (target, host):
        before = (dict(target), dict(host))
        write(target, host)
        target |= differing(False)
        host |= differing(True)
        print(len(target), "packages,", len(host), "for macros")
