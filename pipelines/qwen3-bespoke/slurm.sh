# shellcheck shell=bash disable=SC2034
# Settings of ../slurm/submit.sh for this pipeline: stage one on eight GPUs, then a student for each proportion of [sweep] on four.
# `PARTITION` and `ACCOUNT` are the site's; a settings.example.sh is beside submit.sh.
PIPELINE=pipeline.toml
STAGES="prepare precompute finalize sweep report"
WORKERS=8
PRECOMPUTE_OPTIONS="--gres=gpu:1 --cpus-per-task=8 --mem=64G --time=08:00:00"
SWEEP_WORKERS=4
SWEEP_OPTIONS="--gres=gpu:1 --cpus-per-task=8 --mem=128G --time=24:00:00"
CPU_OPTIONS="--cpus-per-task=4 --mem=8G --time=01:00:00"
RUNS=runs
