#!/usr/bin/env python3
"""Pushes and pulls caches to and from the S3 server at AWS_ENDPOINT_URL_S3, which has a bucket `caches`; stores.sh starts one.

    tests/compare/stores.py PROGRAM FOLDER
"""

import hashlib
import json
import pathlib
import random
import shutil
import subprocess
import sys
import time

from blake3 import blake3

from kills import killed

PROGRAM, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])


def run(*arguments, check=True):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if check and done.returncode != 0:
        sys.exit(f"{arguments} ended with {done.returncode}:\n{done.stderr}")
    return done


def copied(*arguments):
    return json.loads(run("cache", *arguments, "--json").stdout)


def files(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = ((path.relative_to(folder), path) for path in paths)
    return {str(name): hashlib.sha256(path.read_bytes()).hexdigest() for name, path in names if "/." not in f"/{name}"}


def made(folder, units, size, seed=0):
    """A cache of `units` work units that cannot be decoded: hashes are right, contents are noise."""
    source = random.Random(seed)
    def write(name, value):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = value if isinstance(value, bytes) else (json.dumps(value, indent=2) + "\n").encode()
        path.write_bytes(text)
        return {"bytes": len(text), "blake3": blake3(text).hexdigest()}

    tokenizer = write("tokenizer/tokenizer.json", b"{}")
    identity = write("identity.json", {"format": 2, "identity": {}, "tokenizer_files": {"tokenizer.json": tokenizer["blake3"]}})
    table, tokens = write("corpus/samples.arrow", source.randbytes(1000)), write("corpus/tokens.u32", source.randbytes(1 << 20))
    corpus = write("corpus/prepared.json", {"format": 3, "table": table, "tokens": tokens})
    layer, listed = "0-0.5-answer", {}
    write(f"layers/{layer}/layer.json", {"format": 2, "bands": []})
    for unit in range(units):
        listed[f"train-{unit:06}"] = write(f"layers/{layer}/train-{unit:06}.parquet", source.randbytes(size))
        write(f"layers/{layer}/train-{unit:06}.json", {"format": 2, "shard": listed[f"train-{unit:06}"]})
    write(f"layers/{layer}/manifest.json", {"format": 2, "units": units})
    inventory = {"format": 1, "identity": identity["blake3"], "corpus": [corpus["blake3"]], "layers": {layer: listed}}
    write("inventory.json", inventory)


def timed(what, do):
    start = time.monotonic()
    result = do()
    print(f"{what}: {time.monotonic() - start:.1f} s", flush=True)
    return result


def main():
    place = FOLDER / "quickstart"
    shutil.copytree("data/quickstart", place)
    timed("the quickstart's cache, captured into s3://", lambda: run("precompute", "-c", place / "pipeline.toml", "--push", "s3://caches/whole"))
    cache = place / "cache"
    url = "s3://caches/whole"
    pushed = copied("push", cache, url)
    pulled = copied("pull", url, FOLDER / "back")
    assert pushed["complete"] and pulled["complete"] and files(cache) == files(FOLDER / "back"), (pushed, pulled)
    assert pushed["files_copied"] == 0 and files(cache) == files(FOLDER / "back")
    print(f"captured into a store, and pulled {pulled['files_copied']} files, {pulled['bytes_copied']} bytes: the same", flush=True)
    run("cache", "verify", FOLDER / "back")

    took = min(copied("push", cache, f"s3://caches/timed-{number}")["seconds"] for number in range(2))
    kills = sum(killed(PROGRAM, took * (number + 1) / 15, "cache", "push", cache, "s3://caches/killed") for number in range(10))
    copied("push", cache, "s3://caches/killed")
    for number in range(10):
        kills += killed(PROGRAM, took * (number + 1) / 15, "cache", "pull", "s3://caches/killed", FOLDER / "killed")
    copied("pull", "s3://caches/killed", FOLDER / "killed")
    assert files(cache) == files(FOLDER / "killed")
    print(f"killed {kills} times: the same in the end", flush=True)

    missing = run("cache", "push", cache, "s3://no-such-bucket/a", check=False)
    assert missing.returncode == 1 and "has no bucket" in missing.stderr, missing.stderr

    many = FOLDER / "many"
    made(many, 2000, 20_000, seed=1)
    floor = time.monotonic()
    shutil.copytree(many, FOLDER / "floor")
    files(many)
    print(f"2,000 small shards, copied and hashed without a network: {time.monotonic() - floor:.1f} s", flush=True)
    for parallel in (1, 8, 32):
        place = f"s3://caches/many-{parallel}"
        timed(f"2,000 small shards, pushed, --parallel {parallel}", lambda: copied("push", many, place, "--parallel", parallel))
    timed("pushed again", lambda: copied("push", many, "s3://caches/many-8"))
    timed("pushed into a folder", lambda: copied("push", many, f"file://{FOLDER}/many-away"))
    timed("pulled", lambda: copied("pull", "s3://caches/many-8", FOLDER / "many-back"))
    assert files(many) == files(FOLDER / "many-back")


if __name__ == "__main__":
    main()
