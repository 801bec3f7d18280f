#!/usr/bin/env bash
# mpirun, for what stops it by SIGTERM: mpirun.sh ARGUMENTS… runs `mpirun ARGUMENTS…`.
#
# mpirun of OpenMPI 4 passes SIGTERM on only after `odls_base_sigkill_timeout` seconds (1), kills after as many more, and ends with 1.
# This script sends SIGTERM at once to the processes that mpirun has started on this machine. The program stops all processes when
# one is asked to, and needs 10 seconds at most. A wrapper between mpirun and the program must end with `exec`.
#
# Exit codes: 75 if it was stopped and not all was done; else that of mpirun.
set -uo pipefail

launcher=""
stopped=""

# The processes that mpirun has started here.
# shellcheck disable=SC2329
processes() {
    local status pid
    while read -r status; do
        pid=${status//[!0-9]/}
        if grep -qsza '^OMPI_COMM_WORLD_RANK=' "/proc/$pid/environ"; then echo "$pid"; fi
    done < <(grep -lsE "^PPid:[[:space:]]+$launcher\$" /proc/[0-9]*/status)
}

# shellcheck disable=SC2329
stop() {
    stopped=1
    if [[ -z $launcher ]]; then exit 75; fi
    local all
    mapfile -t all < <(processes)
    # While there are none, nothing is lost.
    kill -TERM "${all[@]:-$launcher}" 2>/dev/null
}

trap stop TERM
mpirun "$@" &
launcher=$!
# A signal ends `wait` before mpirun ends.
while kill -0 "$launcher" 2>/dev/null; do
    wait "$launcher"
done
wait "$launcher"
code=$?
if [[ -n $stopped && $code -ne 0 ]]; then code=75; fi
exit "$code"
