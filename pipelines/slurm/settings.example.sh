# shellcheck shell=bash disable=SC2034
# What submit.sh is told, with its defaults: copy this file, change the copy, and give it to submit.sh. Each of these may be
# set in the environment as well. Paths are relative to the folder in which submit.sh is called, which every node must see.

PIPELINE=pipeline.toml          # the pipeline file; no default
LEADSPAN=leadspan               # the program, on the PATH of the nodes or as a path
LEADSPAN_CPU=""                 # that of prepare, finalize and report; one built for CUDA starts only where there is a GPU
SETUP=""                        # run by every job before the program, such as "module load cuda/12.4"

PARTITION=""                    # where the site wants one; likewise the other two
ACCOUNT=""
QOS=""
PRECOMPUTE_OPTIONS=""           # of stage one, as for sbatch: "--gres=gpu:1 --cpus-per-task=8 --mem=64G --time=08:00:00"
TRAIN_OPTIONS=""                # of stage two; a student needs 16 bytes a parameter, and room for activations
SWEEP_OPTIONS=""                # of each task of the sweep; TRAIN_OPTIONS unless set
CPU_OPTIONS=""                  # of prepare, finalize and report: "--cpus-per-task=4 --mem=8G --time=01:00:00 --gres=none"

TRAIN_PROCESSES=1               # of one student: more need a program built with `--features mpi`, and cores or GPUs for each
TRAIN_MPI=pmix                  # how srun connects them: `srun --mpi=list` says what your Slurm has

WORKERS=4                       # tasks of stage one that the work is divided among: the same until the cache is complete
ARRAY=""                        # tasks to submit, such as 3,17-19; all of them unless set
AT_ONCE=""                      # tasks of an array that run at the same time, at most
CLAIM=no                        # yes: tasks that are done take what others have left, for nodes of different speed
RETRIES=5                       # a job whose program was killed comes back if it had fewer restarts; interrupted ones always do

STAGES="prepare precompute finalize train report"   # what to submit, of these and sweep, in this order
SWEEP_WORKERS=4                 # tasks that the runs of [sweep] are divided among
RUNS="runs"                     # folders of runs for the report: train.dir, sweep.dir, or folders of such folders
REPORT=report                   # the folder of the report
LOGS=logs                       # the folder of the jobs' logs
