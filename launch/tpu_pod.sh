#!/usr/bin/env bash
# Trains on a Cloud TPU slice; re-creates it when it is preempted.
set -euo pipefail

usage="usage: launch/tpu_pod.sh --name=NAME --zone=ZONE --type=TYPE --bucket=gs://BUCKET
           --config=configs/X.py [flags] [--config.a.b=c ...] [-- more of the program's flags]

Checks that the run can start and fits (perl-jax check, where perl_jax is installed); creates the TPU
VM or queued resource NAME, or takes the one that is there; waits until it is ready; installs this
working tree on all its hosts and runs perl_jax.train on them; shows their log. The program runs on
when the connection ends: the same command goes back to it. When the TPU is preempted it is deleted,
created again, and the run goes on from its last checkpoint. When the program fails, the log of the
host that failed first is shown before those of the others. Ctrl-C asks the program to save and stop,
and waits for it; a second one leaves it running.

  --type=TYPE        such as v5litepod-16, v5p-32, v6e-32
  --bucket=gs://B    holds checkpoints in B/NAME/checkpoints, and in B/NAME/workdir a copy of the work
                     directory with metrics, the log and the exported model
  --project=P        gcloud's own default if not given
  --version=V        TPU software; by type: v2-alpha-tpuv5-lite, v2-alpha-tpuv5, v2-alpha-tpuv6e,
                     tpu-ubuntu2204-base
  --queued-resource  asks by a queued resource, which waits for capacity in Google's queue
  --spot             cheaper, may be preempted
  --create-flags=F   more flags of gcloud's create, such as '--network=n --reserved'
  --workdir=DIR      on the hosts, below ~/perl_jax if relative; default: runs/NAME
  --wait=120         minutes to wait for the TPU each time
  --attempts=20      times that the program is started in all, before preemptions count as failure
  --poll=30          seconds between looks
  --delete           deletes the TPU at the end, however the run ended; not if it is left running
  --no-check         asks for the TPU without the check
  --dry-run          prints the commands, one a line, and runs nothing; a line with # shows a command
                     as the hosts get it

Exit status: 0 finished; that of the program if it failed; 130 stopped by Ctrl-C; 1 no TPU, or it was
lost too often, or the check failed; 2 wrong flags."

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=launch/common.sh
source "$root/launch/common.sh"

name='' zone='' type='' bucket='' config='' project='' version='' create_flags='' workdir=''
wait=120 attempts=20 poll=30
queued_resource='' spot='' delete='' no_check='' dry_run='' overrides=()
parse_flags "name zone type bucket config project version create-flags workdir wait attempts poll" \
  "queued-resource spot delete no-check dry-run" "$@"
require name zone type bucket
require_match --name "$name" "[a-z]([-a-z0-9]{0,61}[a-z0-9])?" "small letters, digits and -"
require_match --bucket "$bucket" "gs://.+" "gs://BUCKET or gs://BUCKET/FOLDER"
require_config
for flag in wait attempts; do
  require_match "--$flag" "${!flag}" "[0-9]+" "a whole number"
done
require_match --poll "$poll" "[0-9]+(\.[0-9]+)?" "seconds"
if [[ -z $version ]]; then
  case $type in
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v6e-*) version=v2-alpha-tpuv6e ;;
    v4-*) version=tpu-ubuntu2204-base ;;
    *) bad_flag --type "v4-N, v5litepod-N, v5p-N or v6e-N, or --version beside it" "$type" ;;
  esac
fi
workdir=${workdir:-runs/$name}
keep=${bucket%/}/$name
where=(--zone="$zone")
[[ -z $project ]] || where+=(--project="$project")
where+=(--quiet)
settings=(--config.checkpoint.directory="$keep/checkpoints" ${overrides[@]+"${overrides[@]}"})

on_tpu() { run gcloud compute tpus tpu-vm "$@" "${where[@]}"; }
on_queue() { run gcloud compute tpus queued-resources "$@" "${where[@]}"; }

remote() { # remote COMMAND: on all hosts; a dead connection is noticed within two minutes
  local command="cd perl_jax 2>/dev/null; $1"
  [[ -z $dry_run ]] || printf '# every host runs: %s\n' "$command"
  on_tpu ssh "$name" --worker=all --ssh-flag=-oServerAliveInterval=30 \
    --ssh-flag=-oServerAliveCountMax=4 --command="$command"
}

ask() { # ask tpu|queue
  case $1 in
    tpu) on_tpu describe "$name" --format="value(state)" ;;
    queue) on_queue describe "$name" --format="value(state.state)" ;;
  esac
}

describe() { # describe tpu|queue: its state, or MISSING
  local output
  if output=$(ask "$1" 2>&1); then
    printf '%s\n' "${output##*$'\n'}"
  elif [[ $output == *NOT_FOUND* || $output == *"not found"* ]]; then
    echo MISSING
  else
    die "cannot ask for the state of $name: $output"
  fi
}

tpu_state() {
  local state
  if [[ -z $queued_resource ]]; then
    describe tpu
    return
  fi
  state=$(describe queue) || return 1
  # The request may be called active for a while after its TPU was preempted.
  if [[ $state == ACTIVE ]]; then
    state=$(describe tpu) || return 1
    [[ $state != MISSING ]] || state=SUSPENDED
  fi
  printf '%s\n' "$state"
}

create() {
  local flags=()
  [[ -z $spot ]] || flags+=(--spot)
  # shellcheck disable=SC2206  # several flags in one
  flags+=($create_flags)
  if [[ -n $queued_resource ]]; then
    on_queue create "$name" --node-id="$name" --accelerator-type="$type" \
      --runtime-version="$version" ${flags[@]+"${flags[@]}"}
  else
    on_tpu create "$name" --accelerator-type="$type" --version="$version" ${flags[@]+"${flags[@]}"}
  fi
}

# Ends if the run could not start or does not fit. Whoever launches need not have perl_jax installed.
check() {
  local python
  [[ -z $no_check ]] || return 0
  if [[ -n $dry_run ]]; then
    run perl-jax check --type="$type" --config="$config" "${settings[@]}"
    return
  fi
  for python in python3 "$root/.venv/bin/python"; do
    if (cd "$root" && "$python" -m perl_jax check --help) >/dev/null 2>&1; then
      say "checking that the run can start (--no-check asks for the TPU without)"
      (cd "$root" && "$python" -m perl_jax check --type="$type" --config="$config" "${settings[@]}") ||
        die "the check failed with status $?, see above; no TPU was asked for"
      return 0
    fi
  done
  say "not checked, as perl_jax is not installed here (perl-jax check)"
}

# Fails where there is no capacity now, which is a reason to wait; ends where anything else is wrong.
try_to_create() {
  local output
  [[ -n $checked ]] || check
  checked=yes
  say "creating $name ($type in $zone)"
  output=$(create 2>&1) && return
  case $output in
    *"no more capacity"* | *RESOURCE_EXHAUSTED* | *"nsufficient capacity"* | *UNAVAILABLE*)
      say "not yet: ${output##*$'\n'}"
      return 1
      ;;
    *) die "cannot create $name: $output" ;;
  esac
}

delete_tpu() {
  if [[ -n $queued_resource ]]; then
    on_queue delete "$name" --force
  else
    on_tpu delete "$name"
  fi
}

checked=''
wait_until_ready() {
  local state='' before='' deadline=$((SECONDS + wait * 60))
  while true; do
    state=$(tpu_state)
    [[ $state == "$before" ]] || say "$name is $state"
    before=$state
    [[ $state != READY ]] || return 0
    ((SECONDS < deadline)) ||
      finish 1 "error: $name: expected READY within $wait minutes (--wait); it is $state"
    case $state in
      MISSING) try_to_create && continue ;;
      PREEMPTED | TERMINATED | SUSPENDED) delete_tpu && continue ;;
      FAILED) delete_tpu ;;
      STOPPED) on_tpu start "$name" && continue ;;
    esac
    sleep "$poll"
  done
}

install() {
  local setup="set -e; cd; mkdir -p perl_jax; cd perl_jax; rm -rf perl_jax configs launch"
  setup+="; tar -xzf ../perl_jax.tar.gz; export PATH=\$HOME/.local/bin:\$PATH"
  # The images come with Python 3.10.
  setup+="; command -v uv >/dev/null || python3 -m pip install --quiet --user uv"
  setup+="; uv venv --quiet --allow-existing --python 3.11 .venv"
  setup+="; uv pip install --quiet --python .venv/bin/python --editable '.[tpu,gcs]'"
  # Nobody else on this machine can have put anything there.
  local directory=${TMPDIR:-/tmp}/perl_jax.XXXXXX status=0
  [[ -n $dry_run ]] || directory=$(mktemp -d "$directory") || return 1
  run bash "$root/launch/pack.sh" "$directory/$name.tar.gz" &&
    on_tpu scp "$directory/$name.tar.gz" "$name:perl_jax.tar.gz" --worker=all &&
    remote "$setup" || status=$?
  [[ -n $dry_run ]] || rm -rf "$directory"
  return "$status"
}

worker() { # worker ACTION [ARGUMENT...]
  remote "$(quoted bash launch/worker.sh "$1" --workdir="$workdir" "${@:2}")"
}

start() {
  worker start --keep="$keep/workdir" --python=.venv/bin/python -- \
    .venv/bin/python -m perl_jax.train --config="$config" --workdir="$workdir" --distributed=on \
    "${settings[@]}"
}

# What the hosts say together, the first of: running, finished, lost, failed STATUS, stopped.
run_state() {
  local output state
  output=$(remote "if [ -f launch/worker.sh ]; then $(quoted bash launch/worker.sh state \
    --workdir="$workdir"); else echo none; fi" 2>/dev/null) || return 1
  if grep -qx running <<<"$output"; then
    echo running
  elif grep -qx finished <<<"$output"; then
    echo finished
  elif grep -qxE 'none|lost' <<<"$output"; then
    echo lost
  elif state=$(grep -m 1 -xE 'failed [0-9]+' <<<"$output"); then
    printf '%s\n' "$state"
  elif grep -qx stopped <<<"$output"; then
    echo stopped
  else
    echo lost
  fi
}

follow() { # in the background, so that a signal is heard at once
  worker follow &
  await "$!"
}

asked='' attending=''
# shellcheck disable=SC2329  # a trap calls it
on_signal() {
  if [[ -z $attending ]]; then
    trap - INT TERM
    finish 130 "interrupted; the same command goes on"
  fi
  if [[ -n $asked ]]; then
    say "left running; the same command goes back to it"
    exit 130
  fi
  asked=yes
  say "asking the program to save and stop; once more to leave it running"
  worker stop </dev/null || say "could not ask"
}

bring_up() { # new hosts may refuse the first connections
  local try
  for try in 1 2 3; do
    say "installing on all hosts (try $try)"
    if install && start; then return 0; fi
    sleep "$poll"
    [[ $(tpu_state) == READY ]] || return 1
  done
  finish 1 "error: $name is READY, but installing or starting the program failed; see above"
}

# Starts the program or goes back to it, and sees it to its end: sets `ended` to what run_state says,
# or to preempted.
attend() {
  local silent=0 state
  ended=$(run_state) || ended=lost
  case $ended in
    finished) say "it has finished already" && return ;;
    running) say "it is running already; going back to it" ;;
    *)
      ended=preempted
      bring_up || return 0
      ;;
  esac
  attending=yes
  while true; do
    follow
    state=$(tpu_state) || state=UNKNOWN
    if [[ $state == READY ]] && ended=$(run_state); then
      [[ $ended == running ]] || break
      silent=0
    elif [[ $state != READY && $state != UNKNOWN ]]; then
      ended=preempted
      break
    else
      # The network is down here, or the TPU is being preempted, which its state does not say yet.
      ((++silent <= 20)) ||
        die "$name ($state) did not answer $silent times in a row; it may run on, and costs"
    fi
    sleep "$poll"
  done
  attending=''
  if [[ $ended != finished && $ended != preempted ]]; then
    # Hosts of a TPU that is being preempted do not all end at once, and its state says it late.
    sleep "$poll"
    [[ $(tpu_state) == READY ]] || ended=preempted
  fi
}

# Shows how the program ended on the hosts where it failed, the first of them first; sets `ended` to
# what is said of that one.
show_failures() {
  local told order host failed first='' tab=$'\t'
  told=$(worker report 2>/dev/null) || true
  order=$(grep -E "^[0-9]+${tab}failed${tab}" <<<"$told" | sort -t "$tab" -k 3,3n -k 4,4n) || return 0
  while IFS=$tab read -r host _ _ _ failed; do
    say "host $host failed with status $failed; the end of its log:"
    grep "^$host${tab}log${tab}" <<<"$told" | cut -f 3- |
      if [[ -z $first ]]; then cat; else tail -n 3; fi
    [[ -n $first ]] || ended="failed $failed"
    first=yes
  done <<<"$order"
}

finish() { # finish STATUS MESSAGE
  local state
  say "$2"
  state=$(tpu_state) || state=UNKNOWN
  if [[ $state == MISSING ]]; then
    exit "$1"
  elif [[ -n $delete ]]; then
    delete_tpu || say "could not delete $name: it goes on costing"
  else
    say "$name is still there and costs; --delete, or: $(dry_run=yes delete_tpu)"
  fi
  exit "$1"
}

if [[ -n $dry_run ]]; then
  [[ -z $queued_resource ]] || ask queue
  ask tpu
  check
  create
  install
  start
  worker follow
  worker state
  [[ -z $delete ]] || delete_tpu
  exit
fi

need gcloud "install the Google Cloud CLI and run gcloud auth login"
trap on_signal INT TERM
for ((attempt = 1; attempt <= attempts; attempt++)); do
  wait_until_ready
  attend
  case $ended in
    finished) finish 0 "finished; results are in $keep/workdir" ;;
    failed*)
      show_failures
      finish "${ended#failed }" "the program failed with status ${ended#failed }; see above"
      ;;
  esac
  [[ -z $asked ]] || finish 130 "stopped as asked; the same command goes on"
  say "$ended ($attempt of $attempts)"
done
finish 1 "the TPU was lost or the program stopped $attempts times (--attempts)"
