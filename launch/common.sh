# shellcheck shell=bash
# What the launch scripts share: flags, errors, dry runs. Runs on bash 3.2 (macOS) too.
#
# A script sets `root` (of the repository) and `usage` (its help) first.
# shellcheck disable=SC2154  # they, and the variables of flags, are set elsewhere

script="launch/$(basename "$0")"

# die MESSAGE...: ends with an error in one line.
die() {
  printf '%s: error: %s\n' "$script" "$*" >&2
  exit 1
}

# bad_flag FLAG EXPECTED GOT: ends with 2, as for every flag that is wrong.
bad_flag() {
  printf "%s: %s: expected %s; got '%s'\n" "$script" "$1" "$2" "$3" >&2
  exit 2
}

say() { printf '%s: %s\n' "$script" "$*" >&2; }

# parse_flags "VALUES" "SWITCHES" ARGUMENT...
# Sets a variable for every flag given (--dry-run is dry_run). `overrides` holds --config.a.b=c and
# whatever follows --, which go to the program as they are.
parse_flags() {
  local values=" $1 " switches=" $2 " argument name choices
  # shellcheck disable=SC2086  # one word a flag
  choices="one of$(printf ' --%s' $1 $2 help)"
  shift 2
  overrides=()
  while (($#)); do
    argument=$1
    shift
    name=${argument%%=*}
    name=${name#--}
    case $argument in
      -h | --help) printf '%s\n' "$usage" && exit 0 ;;
      --) overrides+=("$@") && return ;;
      --config.*=*) overrides+=("$argument") ;;
      --*=*)
        if [[ $switches == *" $name "* ]]; then
          bad_flag "--$name" "no value" "${argument#*=}"
        elif [[ $values != *" $name "* ]]; then
          bad_flag "--$name" "$choices" "$argument"
        fi
        printf -v "${name//-/_}" '%s' "${argument#*=}"
        ;;
      --*)
        if [[ $values == *" $name "* ]]; then
          bad_flag "--$name" "a value, as in --$name=VALUE" "$argument"
        elif [[ $switches != *" $name "* ]]; then
          bad_flag "--$name" "$choices" "$argument"
        fi
        printf -v "${name//-/_}" '%s' yes
        ;;
      *) bad_flag "arguments" "flags as --name=value" "$argument" ;;
    esac
  done
}

# require FLAG...: ends unless every one has a value.
require() {
  local name variable
  for name in "$@"; do
    variable=${name//-/_}
    [[ -n ${!variable:-} ]] || bad_flag "--$name" "a value, as it has no default" "${!variable:-}"
  done
}

# require_match FLAG VALUE REGEX EXPECTED
require_match() {
  [[ $2 =~ ^($3)$ ]] || bad_flag "$1" "$4" "$2"
}

# require_config PATH: the configuration is a file of the repository, as other hosts get a copy.
require_config() {
  require config
  local path=${config%%:*}
  [[ $path != /* && -f $root/$path ]] ||
    bad_flag "--config" "a file below $root, by its path from there" "$config"
}

# quoted WORD...: one line that a shell reads as these words.
quoted() {
  local word line='' plain='^[A-Za-z0-9_./:=,@%+-]+$'
  for word in "$@"; do
    [[ $word =~ $plain ]] || word="'${word//\'/\'\\\'\'}'"
    line+="${line:+ }$word"
  done
  printf '%s\n' "$line"
}

# run WORD...: runs a command; with --dry-run prints it instead.
run() {
  if [[ -n ${dry_run:-} ]]; then
    quoted "$@"
  else
    "$@"
  fi
}

# need COMMAND HINT: ends unless the command is there. A dry run needs nothing.
need() {
  [[ -n ${dry_run:-} ]] || command -v "$1" >/dev/null || die "$1: not found; $2"
}
