#!/usr/bin/env bash
# Runs the program on one host, and says how it ended; tpu_pod.sh and gke_jobset.yaml start it.
set -euo pipefail

usage="usage: launch/worker.sh run|start|follow|state|stop --workdir=DIR [flags] [-- COMMAND...]

  run      runs COMMAND in the foreground: hands SIGTERM and SIGINT on as SIGTERM, waits for the
           end, keeps a copy of the work directory
  start    the same in the background, out of reach of the session's end; nothing if it runs
           already or has finished
  follow   shows log.txt of the work directory until the program ends, and ends with its exit status
  state    prints one of: none, running, lost, finished, ended, stopped, failed STATUS
  stop     asks the program to save and stop (SIGTERM)

  --workdir=DIR     work directory of the run on this host
  --keep=URL        where host 0 keeps a copy of the work directory, without checkpoints: brought
                    back when the directory is new, written every --every seconds and at the end
  --every=300
  --python=python3  has fsspec, and gcsfs for gs://

Exit status of run and follow: that of COMMAND; but 75 on host 0 if COMMAND ended well without
finishing the run (no new summary.json), as it does when it is asked to stop. Start it again then."

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=launch/common.sh
source "$root/launch/common.sh"

STOPPED=75 # EX_TEMPFAIL of sysexits.h

# The number of this host, from whoever started it; the metadata server knows it on a TPU VM.
host_number() {
  local number=${TPU_WORKER_ID:-${JOB_COMPLETION_INDEX:-}}
  if [[ -z $number ]]; then
    number=$(curl --silent --fail --max-time 3 --header "Metadata-Flavor: Google" \
      "http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number") ||
      number=0
  fi
  printf '%s\n' "$number"
}

keep() { # keep save|restore: a copy that fails must not end the run
  [[ -n $keep && $host == 0 ]] || return 0
  "$python" "$root/launch/keep.py" "$1" "$workdir" "$keep" ||
    say "could not $1 $workdir and $keep; going on"
}

save_now_and_then() {
  local nap=''
  trap 'kill "$nap" 2>/dev/null; exit' TERM
  while true; do
    sleep "$every" &
    nap=$!
    wait "$nap"
    keep save
  done
}

run_here() {
  local host status=0 child='' saver='' asked=''
  host=$(host_number)
  mkdir -p "$notes"
  rm -f "$notes/exit"
  [[ -f $workdir/metrics.jsonl ]] || keep restore
  touch "$notes/started"
  trap 'asked=yes; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || true' TERM INT
  "${overrides[@]}" &
  child=$!
  [[ -z $asked ]] || kill -TERM "$child"
  save_now_and_then &
  saver=$!
  await "$child"
  kill "$saver" 2>/dev/null || true
  wait "$saver" || true
  keep save
  # Ended by the signal before it listened to it: nothing was done yet that could be saved.
  [[ -z $asked || $status != 143 ]] || status=0
  if ((status == 0)) && [[ $host == 0 ]]; then
    if [[ $workdir/summary.json -nt $notes/started ]]; then
      touch "$notes/finished"
    else
      status=$STOPPED
    fi
  fi
  printf '%s\n' "$status" >"$notes/exit.partial"
  mv "$notes/exit.partial" "$notes/exit"
  exit "$status"
}

state() {
  local status
  if [[ -f $notes/exit ]]; then
    status=$(<"$notes/exit")
    case $status in
      0) if [[ -f $notes/finished ]]; then echo finished; else echo ended; fi ;;
      "$STOPPED") echo stopped ;;
      *) echo "failed $status" ;;
    esac
  elif [[ ! -f $notes/pid ]]; then
    echo none
  elif tr '\0' ' ' <"/proc/$(<"$notes/pid")/cmdline" 2>/dev/null | grep -q launch/worker.sh; then
    echo running
  else
    echo lost
  fi
}

start() {
  case $(state) in
    running | finished) say "$(state) already" && return ;;
  esac
  mkdir -p "$notes"
  rm -f "$notes/exit"
  # A session of its own: the end of the connection does not reach it.
  setsid nohup bash "$root/launch/worker.sh" run --workdir="$workdir" --keep="$keep" \
    --every="$every" --python="$python" -- "${overrides[@]}" \
    >>"$workdir/log.txt" 2>&1 </dev/null &
  printf '%s\n' "$!" >"$notes/pid"
}

follow() {
  [[ $(state) != none ]] || die "$workdir: nothing was started here"
  tail -n 100 --sleep-interval=0.2 --pid="$(<"$notes/pid")" -F "$workdir/log.txt" 2>/dev/null || true
  case $(state) in
    finished | ended) exit 0 ;;
    stopped) exit "$STOPPED" ;;
    failed*) exit "$(<"$notes/exit")" ;;
    *) die "$workdir: the program is gone without an exit status (the host started anew, perhaps)" ;;
  esac
}

workdir='' keep='' every=300 python=python3
overrides=()
action=${1:-}
[[ $action == --help || $action == -h ]] && printf '%s\n' "$usage" && exit 0
require_match action "$action" "run|start|follow|state|stop" "run, start, follow, state or stop"
parse_flags "workdir keep every python" "" "${@:2}"
require workdir
require_match --every "$every" "[0-9]+(\.[0-9]+)?" "seconds"
notes=$workdir/.launch
if [[ $action == run || $action == start ]] && ((${#overrides[@]} == 0)); then
  bad_flag "--" "a command after it" ""
fi

case $action in
  run) run_here ;;
  start) start ;;
  follow) follow ;;
  state) state ;;
  stop) if [[ $(state) == running ]]; then kill -TERM "$(<"$notes/pid")"; fi ;;
esac
