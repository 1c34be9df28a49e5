#!/usr/bin/env bash
# Packs the working tree as it is, without what git ignores: launch/pack.sh FILE.tar.gz
set -euo pipefail

[[ $# == 1 && $1 == *.tar.gz ]] || {
  printf "launch/pack.sh: FILE: expected one name that ends in .tar.gz; got '%s'\n" "$*" >&2
  exit 2
}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# What was deleted and not yet committed is still listed.
git ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d '' file; do
    if [[ -e $file ]]; then printf '%s\0' "$file"; fi
  done |
  COPYFILE_DISABLE=1 tar --null -T - -czf "$1" # no ._files from macOS
