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
# Sets a variable for every flag given (--dry-run is dry_run; so its own names have a _). `overrides` holds --config.a.b=c and
# whatever follows --, which go to the program as they are.
parse_flags() {
  local _values=" $1 " _switches=" $2 " _argument _name _choices
  # shellcheck disable=SC2086  # one word a flag
  _choices="one of$(printf ' --%s' $1 $2 help)"
  shift 2
  overrides=()
  while (($#)); do
    _argument=$1
    shift
    _name=${_argument%%=*}
    _name=${_name#--}
    case $_argument in
      -h | --help) printf '%s\n' "$usage" && exit 0 ;;
      --) overrides+=("$@") && return ;;
      --config.*=*) overrides+=("$_argument") ;;
      --*=*)
        if [[ $_switches == *" $_name "* ]]; then
          bad_flag "--$_name" "no value" "${_argument#*=}"
        elif [[ $_values != *" $_name "* ]]; then
          bad_flag "--$_name" "$_choices" "$_argument"
        fi
        printf -v "${_name//-/_}" '%s' "${_argument#*=}"
        ;;
      --*)
        if [[ $_values == *" $_name "* ]]; then
          bad_flag "--$_name" "a value, as in --$_name=VALUE" "$_argument"
        elif [[ $_switches != *" $_name "* ]]; then
          bad_flag "--$_name" "$_choices" "$_argument"
        fi
        printf -v "${_name//-/_}" '%s' yes
        ;;
      *) bad_flag "arguments" "flags as --name=value" "$_argument" ;;
    esac
  done
}

# require FLAG...: ends unless every one has a value.
require() {
  local _name _variable
  for _name in "$@"; do
    _variable=${_name//-/_}
    [[ -n ${!_variable:-} ]] || bad_flag "--$_name" "a value, as it has no default" "${!_variable:-}"
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
  local word line='' plain='^[A-Za-z0-9_./:=,@%+-]+$' quote="'" escaped="'\\''"
  for word in "$@"; do
    [[ $word =~ $plain ]] || word="'${word//$quote/$escaped}'"
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

# await PID: waits for the end of a background process, whatever signals come; sets `status`.
await() {
  local again=0
  while true; do
    status=0
    wait "$1" || status=$?
    kill -0 "$1" 2>/dev/null || break
  done
  # The last wait may have been ended by a signal just before the process ended.
  wait "$1" 2>/dev/null || again=$?
  # shellcheck disable=SC2034  # for the caller
  ((again == 127)) || status=$again
}
