#!/usr/bin/env bash
# Runs what README.md tells a newcomer to run: every block that is marked `sh`, in order, from the root of the tree.
#
#     tests/readme.sh [--list]
#
# --list only shows the commands. The test command itself is left out, since it takes what CI gives it in a step of its own,
# and what needs NVIDIA's toolkit. A command of leadspan's or cargo's in a block of another kind, where nothing would run it, is
# an error. Exit codes: 0 all of it worked, otherwise that of the command that did not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
usage() { sed -n '2,8s/^# \{0,1\}//p' tests/readme.sh; }
list=""
case "${1:-}" in
    "") ;;
    --list) list=yes ;;
    --help | -h) usage; exit 0 ;;
    *) echo "error: unknown argument \`$1\`" >&2; usage >&2; exit 1 ;;
esac

# kind, tab, line: of each line of each block. What a program printed may show commands behind `$`.
blocks="$(awk '/^```/ { kind = inside ? "" : substr($0, 4); inside = !inside; next }
               inside { print (kind == "" ? "plain" : kind) "\t" $0; next }
               /^    [^ ]/ { print "indented\t" substr($0, 5) }' README.md)"
astray="$(grep -E $'^(plain|indented|text|console|toml|python|sql)\t *(leadspan|cargo|tests/|pipelines/)' <<<"$blocks" || true)"
if [[ -n "$astray" ]]; then
    printf 'error: commands of README.md that nothing runs; mark their block `sh`:\n%s\n' "$astray" >&2
    exit 1
fi
commands=()
while IFS= read -r line; do
    case "$line" in
        "" | "#"*) ;;
        "cargo test --release" | *"--features cuda"* | "tests/cuda"*) echo "elsewhere: $line" ;;
        *) commands+=("$line") ;;
    esac
done < <(sed -n 's/^sh\t//p' <<<"$blocks")
((${#commands[@]} > 5)) || { echo "error: README.md has hardly a command" >&2; exit 1; }
# An export of an earlier run would not be replaced.
[[ -n "$list" ]] || rm -f leadspan-quickstart/*.parquet
for command in "${commands[@]}"; do
    printf '\n+ %s\n' "$command"
    # In this shell, so that what one exports holds for the next.
    [[ -n "$list" ]] || eval "$command"
done
