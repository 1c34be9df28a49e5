#!/usr/bin/env bash
# Trains on a TPU slice of a GKE cluster: fills in gke_jobset.yaml and applies it.
set -euo pipefail

usage="usage: launch/gke_jobset.sh --name=NAME --type=TYPE --topology=TOPOLOGY --image=IMAGE
           --bucket=gs://BUCKET --config=configs/X.py [flags] [--config.a.b=c ...]
           [-- more of the program's flags]

Submits a JobSet: one pod on each host of the slice. Kubernetes starts all of them again from the
last checkpoint when a node is preempted, and --max-restarts times when a host is lost or a program
is killed. A program that ends with an error is not tried again. The cluster needs a node pool of
that type and topology, and JobSet 0.10.

  --type=TYPE            v4, v5e, v5p or v6e
  --topology=TOPOLOGY    chips along each side: 4x4 (v5e, v6e), 2x2x4 (v4, v5p)
  --image=IMAGE          built from launch/Dockerfile with ACCELERATOR=tpu, where the cluster finds it
  --bucket=gs://B        holds checkpoints in B/NAME/checkpoints, and in B/NAME/workdir a copy of the
                         work directory with metrics and the exported model
  --chips-per-host=N     default: 4, or all of a smaller topology; 8 for ct5lp-hightpu-8t
  --namespace=default
  --service-account=default   Kubernetes' name of an account that may write to the bucket
  --max-restarts=3
  --spot                 on Spot nodes
  --render               prints the manifest, and no more
  --dry-run              prints the command, and runs nothing"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=launch/common.sh
source "$root/launch/common.sh"

name='' type='' topology='' image='' bucket='' config='' chips_per_host='' namespace=default
service_account=default max_restarts=3 spot='' render='' dry_run='' overrides=()
parse_flags "name type topology image bucket config chips-per-host namespace service-account \
max-restarts" "spot render dry-run" "$@"
require name type topology image bucket
# Names of pods, NAME-host-0-N-xxxxx, have at most 63 letters.
require_match --name "$name" "[a-z]([-a-z0-9]{0,38}[a-z0-9])?" "at most 40 small letters, digits, -"
case $type in
  v4) accelerator=tpu-v4-podslice ;;
  v5e) accelerator=tpu-v5-lite-podslice ;;
  v5p) accelerator=tpu-v5p-slice ;;
  v6e) accelerator=tpu-v6e-slice ;;
  *) bad_flag --type "v4, v5e, v5p or v6e" "$type" ;;
esac
case $type in
  v5e | v6e) require_match --topology "$topology" "[1-9][0-9]*x[1-9][0-9]*" "two sides, as 4x4" ;;
  *) require_match --topology "$topology" "[1-9][0-9]*(x[1-9][0-9]*){2}" "three sides, as 2x2x4" ;;
esac
require_match --image "$image" "[a-zA-Z0-9./:@_-]+" "the name of an image"
require_match --bucket "$bucket" "gs://.+" "gs://BUCKET or gs://BUCKET/FOLDER"
require_match --namespace "$namespace" "[a-z0-9]([-a-z0-9]*[a-z0-9])?" "small letters, digits and -"
require_match --service-account "$service_account" "[a-z0-9]([-.a-z0-9]*[a-z0-9])?" \
  "small letters, digits, - and ."
require_match --max-restarts "$max_restarts" "[0-9]+" "a whole number"
require_config

chips=$((${topology//x/*}))
if [[ -z $chips_per_host ]]; then
  chips_per_host=$((chips < 4 ? chips : 4))
fi
require_match --chips-per-host "$chips_per_host" "1|2|4|8" "1, 2, 4 or 8"
((chips % chips_per_host == 0)) ||
  bad_flag --chips-per-host "a divisor of the $chips chips of --topology=$topology" "$chips_per_host"

json_list() {
  local word list='' backslash="\\" quote='"'
  for word in "$@"; do
    [[ $word != *$'\n'* ]] || die "expected arguments without line breaks; got '$word'"
    # Kubernetes takes $(NAME) for a variable, and $$ for one $.
    word=${word//'$'/'$$'}
    word=${word//"$backslash"/"$backslash$backslash"}
    list+="${list:+, }\"${word//$quote/$backslash$quote}\""
  done
  printf '[%s]\n' "$list"
}

keep=${bucket%/}/$name
# Here and not within a word of the manifest, where a failure would end nothing.
list=$(json_list run --workdir=/scratch/run --keep="$keep/workdir" --python=python -- \
  python -m perl_jax.train --config="$config" --workdir=/scratch/run --distributed=on \
  --config.checkpoint.directory="$keep/checkpoints" ${overrides[@]+"${overrides[@]}"})

manifest() {
  local text place
  text=$(<"$root/launch/gke_jobset.yaml")
  # Not an & in a value for what it replaces, as bash 5.2 has it.
  shopt -u patsub_replacement 2>/dev/null || true
  for place in "NAME=$name" "NAMESPACE=$namespace" "MAX_RESTARTS=$max_restarts" \
    "HOSTS=$((chips / chips_per_host))" "SERVICE_ACCOUNT=$service_account" \
    "ACCELERATOR=$accelerator" "TOPOLOGY=$topology" "IMAGE=$image" \
    "CHIPS_PER_HOST=$chips_per_host" "ARGUMENTS=$list"; do
    text=${text//"\${${place%%=*}}"/${place#*=}}
  done
  if [[ -n $spot ]]; then
    sed -e 1,3d -e 's/#spot //' <<<"$text"
  else
    sed -e 1,3d -e '/#spot /d' <<<"$text"
  fi
}

if [[ -n $render ]]; then
  manifest
elif [[ -n $dry_run ]]; then
  arguments=()
  for argument in "$@"; do
    [[ $argument == --dry-run ]] || arguments+=("$argument")
  done
  printf '%s | %s\n' "$(quoted launch/gke_jobset.sh --render "${arguments[@]}")" \
    "$(quoted kubectl apply --filename=-)"
else
  need kubectl "install it and run gcloud container clusters get-credentials"
  manifest | kubectl apply --filename=-
  # The pod is another one after each restart.
  say "log:   kubectl logs --namespace=$namespace --follow --tail=-1 --selector=$(
  )jobset.sigs.k8s.io/jobset-name=$name,batch.kubernetes.io/job-completion-index=0"
  say "state: kubectl get jobset $name --namespace=$namespace"
  say "stop:  kubectl delete jobset $name --namespace=$namespace   # saves; the same command goes on"
fi
