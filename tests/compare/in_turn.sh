# For scripts that run programs in turn on the same input; sourced by them, with `usage` defined.

# take_numbers "NAME…" ARGUMENT…: sets the variable NAME from each `--NAME N`.
take_numbers() {
    local names=" $1 "
    shift
    while [[ $# -gt 0 ]]; do
        if [[ "$1" != --* || "$names" != *" ${1#--} "* ]]; then
            echo "error: unknown argument \`$1\`" >&2
            usage >&2
            exit 1
        fi
        [[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || { echo "error: \`$1\` needs a number" >&2; exit 1; }
        printf -v "${1#--}" '%s' "$2"
        shift 2
    done
}

results="$(mktemp)"
trap 'rm -f "$results"' EXIT

# run NAME COMMAND…: keeps the JSON that the command prints, under that name, as a line of $results.
run() {
    local name="$1" result
    shift
    result="$("$@")"
    printf '%s\t%s\n' "$name" "$result" >>"$results"
    echo "ran $name" >&2
}
