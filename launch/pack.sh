#!/usr/bin/env bash
# Packs the files that git tracks, as they are in the working tree: launch/pack.sh FILE.tar.gz
#
# Files that look like secrets stay behind even if they are tracked.
set -euo pipefail

[[ $# == 1 && $1 == *.tar.gz ]] || {
  printf "launch/pack.sh: FILE: expected one name that ends in .tar.gz; got '%s'\n" "$*" >&2
  exit 2
}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

is_secret() { # is_secret PATH
  case "/$1" in
    */.env | */.env.* | */.envrc | */.netrc | */.npmrc | */.pypirc | */.ssh/* | */.aws/*) return 0 ;;
    */id_rsa* | */id_ed25519* | */id_ecdsa* | *.pem | *.key | *.p12 | *.pfx) return 0 ;;
    */*credentials*.json | */*service*account*.json | */*secret*.json) return 0 ;;
  esac
  return 1
}

left_out() { printf 'launch/pack.sh: left out: %s (%s)\n' "$1" "$2" >&2; }

git ls-files -z --others --exclude-standard |
  while IFS= read -r -d '' file; do left_out "$file" "not tracked; git add takes it along"; done
# What was deleted and not yet committed is still listed.
git ls-files -z --cached |
  while IFS= read -r -d '' file; do
    if is_secret "$file"; then
      left_out "$file" "looks like a secret"
    elif [[ -e $file ]]; then
      printf '%s\0' "$file"
    fi
  done |
  COPYFILE_DISABLE=1 tar --null -T - -czf "$1" # no ._files from macOS
