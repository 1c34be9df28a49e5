#!/usr/bin/env bash
# Runs the program on one host, and says how it ended; tpu_pod.sh and gke_jobset.yaml start it.
set -euo pipefail

usage="usage: launch/worker.sh run|start|follow|state|report|stop --workdir=DIR [flags] [-- COMMAND...]

  run      runs COMMAND in the foreground: hands SIGTERM and SIGINT on as SIGTERM, waits for the
           end, keeps a copy of the work directory
  start    the same in the background, out of reach of the session's end; nothing if it runs
           already or has finished
  follow   shows log.txt of the work directory until the program ends, and ends with its exit status
  state    prints one of: none, running, lost, finished, ended, stopped, failed STATUS
  report   if the program failed, prints when, and the end of its log; see the function
  stop     asks the program to save and stop (SIGTERM)

  --workdir=DIR     work directory of the run on this host
  --keep=URL        where host 0 keeps a copy of the work directory, without checkpoints: brought
                    back when the directory is new, written after every step and at the end
  --every=10        seconds between copies, at least
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
    # The server's other addresses are named as for JAX.
    number=$(curl --silent --fail --max-time 3 --retry 2 --header "Metadata-Flavor: Google" \
      "http://${GCE_METADATA_IP:-metadata.google.internal}/computeMetadata/v1/instance/attributes/agent-worker-number") ||
      number=0
  fi
  printf '%s\n' "$number"
}

keep() { # keep save|restore: a copy that fails must not end the run
  [[ -n $keep && $host == 0 ]] || return 0
  "$python" "$root/launch/keep.py" "$1" "$workdir" "$keep" ||
    say "could not $1 $workdir and $keep; going on"
}

# shellcheck disable=SC2329  # a trap calls it
on_signal() {
  local process
  asked=yes
  # The copy is brought up to date at once: a host that is taken away has little time.
  for process in $child $saver; do
    kill -TERM "$process" 2>/dev/null || true
  done
}

run_here() {
  local host status=0 child='' saver='' asked=''
  host=$(host_number)
  mkdir -p "$notes"
  rm -f "$notes/exit"
  [[ -f $workdir/metrics.jsonl ]] || keep restore
  touch "$notes/started"
  trap on_signal TERM INT
  "${overrides[@]}" &
  child=$!
  [[ -z $asked ]] || kill -TERM "$child"
  if [[ -n $keep && $host == 0 ]]; then
    "$python" "$root/launch/keep.py" follow "$workdir" "$keep" "$every" &
    saver=$!
  fi
  await "$child"
  date +%s.%N >"$notes/ended"
  if [[ -n $saver ]]; then
    kill "$saver" 2>/dev/null || true
    wait "$saver" || true
  fi
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
  elif grep -qs launch/worker.sh "/proc/$(<"$notes/pid")/cmdline"; then
    echo running
  else
    echo lost
  fi
}

# Of a program that failed, lines with tabs: HOST failed LATER TIME STATUS, and HOST log LINE for each
# of the last lines. LATER is 1 if it only ended because of another host, and 0 if not: the host that
# tells the others of its failure may itself end after them.
report() {
  local host later=0 status
  status=$(state)
  [[ $status == failed* ]] || return 0
  host=$(host_number)
  if tail -n 20 "$workdir/log.txt" | grep -q "^error: ended with the others"; then later=1; fi
  printf '%s\tfailed\t%s\t%s\t%s\n' "$host" "$later" "$(<"$notes/ended")" "${status#failed }"
  tail -n 40 "$workdir/log.txt" | sed "s/^/$host\tlog\t/"
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

workdir='' keep='' every=10 python=python3
overrides=()
action=${1:-}
[[ $action == --help || $action == -h ]] && printf '%s\n' "$usage" && exit 0
require_match action "$action" "run|start|follow|state|report|stop" \
  "run, start, follow, state, report or stop"
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
  report) report ;;
  stop) if [[ $(state) == running ]]; then kill -TERM "$(<"$notes/pid")"; fi ;;
esac
