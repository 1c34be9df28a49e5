#!/usr/bin/env bash
# Trains on the GPUs of this machine, in one process.
set -euo pipefail

usage="usage: launch/local_gpu.sh --config=configs/X.py --workdir=DIR [flags] [--config.a.b=c ...]
           [-- more of the program's flags]

Looks at the driver, lists the GPUs, and runs perl_jax.train over them in one process. The same
command goes on where a run stopped. Ctrl-C and SIGTERM save and stop; a second Ctrl-C interrupts.

  --gpus=0,1         only these, as nvidia-smi numbers them; default: all
  --memory=0.92      share of the memory that JAX takes at the start
  --python=PYTHON    default: .venv/bin/python of this repository if it is there, else python3
  --dry-run          prints the commands, one a line, and runs nothing

The configuration's mesh must have as many devices as there are GPUs: --config.mesh.fsdp=8."

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=launch/common.sh
source "$root/launch/common.sh"

# jax[cuda13], which the extra `cuda` installs, needs a driver of this series or a later one.
MIN_DRIVER=580

config='' workdir='' gpus='' memory=0.92 python='' dry_run='' overrides=()
parse_flags "config workdir gpus memory python" "dry-run" "$@"
require_config
require workdir
[[ -z $gpus ]] || require_match --gpus "$gpus" "[0-9]+(,[0-9]+)*" "numbers with commas between"
require_match --memory "$memory" "0\.[0-9]*[1-9][0-9]*" "a number between 0 and 1"
if [[ -z $python ]]; then
  python=python3
  [[ ! -x $root/.venv/bin/python ]] || python=$root/.venv/bin/python
fi

check_gpus() {
  local listed driver
  listed=$(nvidia-smi --query-gpu=index,driver_version,name,memory.total --format=csv,noheader) ||
    die "nvidia-smi failed: is the NVIDIA driver loaded? $listed"
  [[ -n $listed ]] || die "nvidia-smi lists no GPU"
  driver=$(sed -n '1s/^[^,]*, *\([0-9]*\).*/\1/p' <<<"$listed")
  ((driver >= MIN_DRIVER)) || die "the NVIDIA driver: expected $MIN_DRIVER or later, as JAX for" \
    "CUDA 13 needs; got $driver (or install jax[cuda12], which runs on 525 and later)"
  local index unknown=''
  for index in ${gpus//,/ }; do
    grep -q "^$index," <<<"$listed" || unknown+=" $index"
  done
  [[ -z $unknown ]] || bad_flag --gpus "some of $(cut -d, -f1 <<<"$listed" | paste -sd, -)" "$gpus"
  say "GPUs:"
  while IFS= read -r index; do
    if [[ -z $gpus || ,$gpus, == *,${index%%,*},* ]]; then printf '  %s\n' "$index" >&2; fi
  done <<<"$listed"
}

need nvidia-smi "install the NVIDIA driver ($MIN_DRIVER or later)"
if [[ -n $dry_run ]]; then
  run nvidia-smi --query-gpu=index,driver_version,name,memory.total --format=csv,noheader
else
  check_gpus
fi
cd "$root"
environment=()
# By PCI bus, as nvidia-smi numbers them; CUDA's own order puts the fastest first.
[[ -z $gpus ]] || environment+=(CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES="$gpus")
# Nothing else is on these GPUs: JAX may take more than its 75 %.
environment+=(XLA_PYTHON_CLIENT_MEM_FRACTION="$memory")
command=(env "${environment[@]}" "$python" -m perl_jax.train --config="$config"
  --workdir="$workdir" --distributed=off ${overrides[@]+"${overrides[@]}"})
if [[ -n $dry_run ]]; then
  run "${command[@]}"
else
  # In the place of this shell, so that signals go to the program.
  exec "${command[@]}"
fi
