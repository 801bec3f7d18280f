#!/usr/bin/env python3
"""Pushes and pulls caches to and from the store whose server stores.sh has started.

    tests/compare/stores.py PROGRAM FOLDER SCHEME
"""

import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

from blake3 import blake3

from kills import killed
from store_servers import BUCKET, STORES

PROGRAM, FOLDER, SCHEME = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
STORE = STORES[SCHEME]()
SECRET = "c2VjcmV0LXRoYXQtbXVzdC1ub3QtYmUtc2hvd24="


def run(*arguments, check=True, **variables):
    environment = {**os.environ, **variables}
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, env=environment)
    if check and done.returncode != 0:
        sys.exit(f"{arguments} ended with {done.returncode}:\n{done.stderr}")
    return done


def copied(*arguments):
    return json.loads(run("cache", *arguments, "--json").stdout)


def refused(why, *arguments, **variables):
    """Runs what must be refused with exit code 1 and these words, and without a secret."""
    done = run(*arguments, check=False, **variables)
    text = done.stdout + done.stderr
    assert done.returncode == 1 and why in text and "hint: " in text and SECRET not in text, (done.returncode, text)
    return text


def url(prefix):
    return f"{SCHEME}://{BUCKET}/{prefix}"


def hashed(contents):
    return hashlib.sha256(contents).hexdigest()


def files(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = ((path.relative_to(folder), path) for path in paths)
    return {str(name): hashed(path.read_bytes()) for name, path in names if "/." not in f"/{name}"}


def objects(prefix):
    return {name.removeprefix(f"{prefix}/"): hashed(STORE.read(name)) for name in STORE.list(prefix)}


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


def same_after_capture(cache):
    back = FOLDER / "back"
    pushed, pulled = copied("push", cache, url("whole")), copied("pull", url("whole"), back)
    assert pushed["complete"] and pulled["complete"] and pushed["files_copied"] == 0, (pushed, pulled)
    assert files(cache) == files(back) == objects("whole")
    run("cache", "verify", back)
    print(f"captured into a store, and pulled {pulled['files_copied']} files, {pulled['bytes_copied']} bytes: the same", flush=True)


def large_files():
    """Shards of several parts."""
    large, back = FOLDER / "large", FOLDER / "large-back"
    made(large, 2, 20 << 20)
    if SCHEME == "gs":
        refused("takes no upload of several parts", "cache", "push", large, url("large"))
        print("skipped: shards of 20 MiB, because fake-gcs-server takes no upload of several parts", flush=True)
        return
    copied("push", large, url("large"))
    again = copied("push", large, url("large"))
    copied("pull", url("large"), back)
    assert again["files_copied"] == 0 and files(large) == files(back), again
    md5s = [md5 for _, md5 in STORE.list("large").values()]
    stated = sum(md5 is not None for md5 in md5s)
    print(f"shards of 20 MiB: the same; an MD5 is stated of {stated} of {len(md5s)} files", flush=True)
    shutil.rmtree(large)
    shutil.rmtree(back)


def two_at_once(cache):
    pushes = [subprocess.Popen([PROGRAM, "cache", "push", cache, url("two")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [push.wait() for push in pushes] == [0, 0]
    assert objects("two") == files(cache)
    knows = "honours" if STORE.creates_once("once/probe") else "does not honour"
    print(f"two pushes at once: the same; the server {knows} the condition that there is no such file yet", flush=True)


def kills(cache):
    took = min(copied("push", cache, url(f"timed-{number}"))["seconds"] for number in range(2))
    moments = [took * (number + 1) / 15 for number in range(10)]
    done = sum(killed(PROGRAM, moment, "cache", "push", cache, url("killed")) for moment in moments)
    copied("push", cache, url("killed"))
    done += sum(killed(PROGRAM, moment, "cache", "pull", url("killed"), FOLDER / "killed") for moment in moments)
    copied("pull", url("killed"), FOLDER / "killed")
    assert files(cache) == files(FOLDER / "killed")
    print(f"killed {done} times: the same in the end", flush=True)


def damage(cache):
    shard = next(name for name in STORE.list("two") if name.endswith(".parquet"))
    contents = STORE.read(shard)
    for number, (what, harm) in enumerate([
        ("is missing", lambda: STORE.delete(shard)),
        ("bytes, not", lambda: STORE.write(shard, contents[: len(contents) // 2])),
        ("another hash", lambda: STORE.write(shard, contents[:-1] + b"?")),
    ]):
        harm()
        place = FOLDER / f"harmed-{number}"
        text = refused(what, "cache", "pull", url("two"), place)
        assert shard in text, text
        lacking = files(cache).keys() - files(place).keys()
        name = shard.removeprefix("two/")
        others = {"inventory.json", name, name.removesuffix(".parquet") + ".json"}
        assert others <= lacking and all(left in others or left.endswith("manifest.json") for left in lacking), lacking
        assert copied("push", cache, url("two"))["files_copied"] >= 1
        assert copied("pull", url("two"), place)["complete"] and files(place) == files(cache)
    print("a lost, a truncated and a changed shard: each named, and mended by a push", flush=True)


def a_cut(cache):
    whole, cut = FOLDER / "cut", FOLDER / "pulled-cut"
    run("cache", "cut", cache, "--out", whole, "--proportion", "0.5")
    pulled = json.loads(run("cache", "pull", url("whole"), cut, "--proportion", "0.5", "--json").stdout)
    assert files(whole) == files(cut)
    print(f"half of it, pulled: {pulled['bytes_fetched'] / pulled['store_bytes']:.2f} of the bytes, and the files of `cut`", flush=True)


def odd_names(cache):
    for number, prefix in enumerate(["caches of \u00fcber/50%/a%20b+c", "\u732b&'(1)=@;,!*"]):
        copied("push", cache, url(prefix))
        copied("pull", url(prefix), FOLDER / f"odd-{number}")
        assert objects(prefix) == files(FOLDER / f"odd-{number}") == files(cache)
    print("prefixes with spaces, `%`, `+` and letters of other alphabets: the same", flush=True)


def strangers(cache):
    refused("has no bucket", "cache", "push", cache, f"{SCHEME}://no-such-bucket/a")
    refused("has no bucket", "cache", "pull", f"{SCHEME}://no-such-bucket/a", FOLDER / "none")
    refused("no cache at", "cache", "pull", url("nothing"), FOLDER / "none")
    nowhere, gone = "http://no-such-host.invalid", "http://127.0.0.1:1"
    variable = {"s3": "AWS_ENDPOINT_URL_S3", "gs": "STORAGE_EMULATOR_HOST", "az": "AZURE_STORAGE_ENDPOINT"}[SCHEME]
    start = time.monotonic()
    refused(variable, "cache", "push", cache, url("a"), **{variable: nowhere})
    absent = run("cache", "push", cache, url("a"), check=False, **{variable: gone})
    assert absent.returncode == 2 and variable in absent.stderr, absent.stderr
    took = time.monotonic() - start
    print(f"no such bucket, no such cache, no such host and no server: each named; the last two took {took:.1f} s", flush=True)


def keys(cache):
    if SCHEME == "gs":
        print("skipped: keys, because fake-gcs-server asks for none", flush=True)
        return
    place, mine, wrong = url("keys"), {}, {"AZURE_STORAGE_KEY": SECRET}
    if SCHEME == "s3":
        # Of a whole bucket: moto takes a signature of a query with `/` for a wrong one, unless `/` is sent as `%2F`.
        place = "s3://keys"
        STORE.client.create_bucket(Bucket="keys")
        mine, reader = STORE.key("s3:*"), STORE.key("s3:Get*", "s3:List*")
        wrong = {**mine, "AWS_SECRET_ACCESS_KEY": SECRET}
        STORE.check_keys(after=0)
        text = refused("refuses access", "cache", "push", cache, place, **reader)
        assert "AccessDenied" in text and reader["AWS_SECRET_ACCESS_KEY"] not in text, text
    run("cache", "push", cache, place, **mine)
    for command in (["push", cache, place], ["pull", place, FOLDER / "keys"]):
        refused("refuses access", "cache", *command, **wrong)
    if SCHEME == "s3":
        run("cache", "pull", place, FOLDER / "read", **reader)
        refused("refuses access", "cache", "pull", place, FOLDER / "keys", **{**mine, "AWS_ACCESS_KEY_ID": "AKIANOBODY"})
        STORE.check_keys(after=10**9)
    print("a wrong key" + (", and one that may only read: refused, and it reads" if SCHEME == "s3" else ": refused"), flush=True)


def workers(place):
    """Two workers, each with a disk of its own."""
    for worker in ("0/2", "1/2"):
        done = run("precompute", *capture(place, "workers"), "--worker", worker, "--json")
        result = json.loads(done.stdout)
        shards = [name for name in files(place / "cache") if name.endswith(".parquet")]
        assert len(shards) == result["units_written"], (shards, result)
        fetched = [line.split("pulled ")[1] for line in done.stderr.splitlines() if "pulled " in line] or ["nothing"]
        print(f"worker {worker} wrote {len(shards)} shards, {result['units_elsewhere']} were in the store; pulled {fetched[0]}", flush=True)
        shutil.rmtree(place / "cache")
    done = run("precompute", *capture(place, "workers"), "--finalize")
    assert objects("workers") == objects("whole") == files(place / "cache")
    print("two workers with a disk each, and --finalize on a third: the same", flush=True)


def many_small_shards():
    many = FOLDER / "many"
    made(many, 2000, 20_000, seed=1)
    floor = time.monotonic()
    shutil.copytree(many, FOLDER / "floor")
    files(many)
    print(f"2,000 small shards, copied and hashed without a network: {time.monotonic() - floor:.1f} s", flush=True)
    for parallel in (1, 8, 32):
        place = url(f"many-{parallel}")
        timed(f"2,000 small shards, pushed, --parallel {parallel}", lambda: copied("push", many, place, "--parallel", parallel))
    timed("pushed again", lambda: copied("push", many, url("many-8")))
    timed("pushed into a folder", lambda: copied("push", many, f"file://{FOLDER}/many-away"))
    timed("pulled", lambda: copied("pull", url("many-8"), FOLDER / "many-back"))
    assert files(many) == files(FOLDER / "many-back")


def capture(place, prefix):
    return ["-c", place / "pipeline.toml", "--push", url(prefix), "--set", "cache.samples_per_shard=100"]


def main():
    STORE.make()
    place = FOLDER / "quickstart"
    shutil.copytree("data/quickstart", place)
    timed(f"the quickstart's cache, captured into {SCHEME}://", lambda: run("precompute", *capture(place, "whole")))
    cache = FOLDER / "cache"
    (place / "cache").rename(cache)
    same_after_capture(cache)
    for check in (two_at_once, kills, damage, a_cut, keys, strangers, odd_names):
        check(cache)
    large_files()
    if SCHEME == "s3":
        workers(place)
        many_small_shards()


if __name__ == "__main__":
    main()
