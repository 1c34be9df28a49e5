#!/usr/bin/env bash
#SBATCH --job-name=perl_jax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%j.log
# Trains on the GPUs of one or more nodes of a Slurm cluster.
set -euo pipefail

usage="usage: sbatch [--nodes=N --gpus-per-node=M ...] launch/slurm_gpu.sh --config=configs/X.py
           --workdir=DIR [flags] [--config.a.b=c ...] [-- more of the program's flags]

To be submitted from the top of the repository, which all nodes see, with DIR on a file system that
they share. One task a node has all its GPUs. Five minutes before the time limit the program saves
and stops, and the job goes back into the queue under its number, until the run is finished. A
program that fails is not tried again; scancel saves and stops for good.

  --workdir=DIR         holds the checkpoints too, in DIR/checkpoints
  --python=PYTHON       default: .venv/bin/python of this repository if it is there, else python3
  --max-requeues=100    of one job, whoever asked for them
  --memory=0.92         share of the GPUs' memory that JAX takes at the start
  --dry-run             prints the commands, one a line, and runs nothing; needs no Slurm

The options of sbatch before the script's name have precedence over its #SBATCH lines."

# sbatch runs a copy of this file, from the directory where it was called.
root=$PWD
[[ -f $root/launch/common.sh ]] || {
  echo "launch/slurm_gpu.sh: expected to be submitted from the top of the repository; got $root" >&2
  exit 2
}
# shellcheck source=launch/common.sh
source "$root/launch/common.sh"
script=launch/slurm_gpu.sh

config='' workdir='' python='' max_requeues=100 memory=0.92 dry_run='' overrides=()
parse_flags "config workdir python max-requeues memory" "dry-run" "$@"
require_config
require workdir
require_match --max-requeues "$max_requeues" "[0-9]+" "a whole number"
require_match --memory "$memory" "0\.[0-9]*[1-9][0-9]*" "a number between 0 and 1"
if [[ -z $python ]]; then
  python=python3
  [[ ! -x $root/.venv/bin/python ]] || python=$root/.venv/bin/python
fi
[[ -n ${SLURM_JOB_ID:-} || -n $dry_run ]] ||
  die "not in a Slurm job: submit it, as in sbatch --nodes=2 launch/slurm_gpu.sh --config=..."
[[ ${SLURM_NTASKS_PER_NODE:-1} == 1 ]] ||
  die "--ntasks-per-node: expected 1, as a task has all GPUs of its node;" \
    "got $SLURM_NTASKS_PER_NODE"

gpus=${SLURM_GPUS_ON_NODE:-8}
# JAX takes a Slurm task for the owner of one GPU, that of its number on the node. This names all of
# them: a host has one process then, which prepares and grades for all its GPUs.
devices=$(seq -s, 0 $((gpus - 1)))
# One task on a node may use all its cores: rows are prepared and answers graded by many processes.
# srun ends with the highest status, and ends tasks by a signal when one has failed, which counts more
# than most. So the first task that fails notes its own. SIGTERM goes to the shell too, which waits.
failed=$workdir/.failed
task="trap : TERM; \"\$@\" || { s=\$?; (set -C; echo \"\$s\" >\"\$0\") 2>/dev/null; exit \"\$s\"; }"
command=(srun --kill-on-bad-exit=1 --ntasks-per-node=1 --cpu-bind=none bash -c "$task" "$failed"
  "$python" -m perl_jax.train --config="$config" --workdir="$workdir" --distributed=on
  ${overrides[@]+"${overrides[@]}"})
environment=(JAX_LOCAL_DEVICE_IDS="$devices" XLA_PYTHON_CLIENT_MEM_FRACTION="$memory")
if [[ -n $dry_run ]]; then
  run export "${environment[@]}"
  run "${command[@]}"
  exit
fi
export "${environment[@]}"

out_of_time=''
# shellcheck disable=SC2329  # a trap calls it
on_time_limit() {
  out_of_time=yes
  say "Slurm wants the nodes back soon: asking the program to save and stop"
  # Signals the tasks and not this script; fails if they have just ended.
  scancel --signal=TERM "$SLURM_JOB_ID" || true
}

mkdir -p "$workdir"
rm -f "$failed"
# By the clock of the file system that summary.json gets its time from.
touch "$workdir/.launched"
trap on_time_limit USR1
# scancel sends it to the tasks too, whose end is waited for.
trap : TERM
"${command[@]}" &
await "$!"
((status == 0)) || [[ ! -s $failed ]] || status=$(<"$failed")
# Ended by the signal before it listened to it: nothing was done yet that could be saved.
[[ -z $out_of_time || $status != 143 ]] || status=0
if ((status != 0)); then
  say "the program failed with status $status; it is not tried again"
  exit "$status"
fi
if [[ $workdir/summary.json -nt $workdir/.launched ]]; then
  say "finished; results are in $workdir"
elif [[ -z $out_of_time ]]; then
  say "stopped as asked; the same command goes on"
elif ((${SLURM_RESTART_COUNT:-0} >= max_requeues)); then
  die "out of time after ${SLURM_RESTART_COUNT:-0} requeues (--max-requeues); the same command goes on"
else
  say "requeueing job $SLURM_JOB_ID"
  scontrol requeue "$SLURM_JOB_ID"
fi
