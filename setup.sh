#!/bin/sh
# Prepares this machine for MicroMind; see --help.
set -eu

BUN_VERSION=1.4.5 # tested; bun.lock needs 1.4 or later
BUN_OLDEST=1.4
MESA_OLDEST=23.1 # Dawn refuses older software drivers (Debian 12 has 22.3) and hands out an adapter that computes nothing
BACKPORTS_FILE=/etc/apt/sources.list.d/bookworm-backports.list
BACKPORTS="deb http://deb.debian.org/debian bookworm-backports main"

usage() {
  cat <<HELP
Usage: sh setup.sh

Prepares this machine; does nothing where nothing is missing. In this order:
  Bun            $BUN_VERSION by "npm install -g" where there is no bun (npm by apt where there is none)
  GPU driver     on Debian and Ubuntu without a Vulkan driver that Dawn accepts: mesa-vulkan-drivers and libvulkan1,
                 which compute on the CPU; on Debian 12 from backports, adding
                 $BACKPORTS_FILE
                 where no backports source is configured. A machine with a GPU's own driver is left alone.
  Dependencies   "bun install --frozen-lockfile", into node_modules/

What needs root is printed, to be run by hand, unless this runs as root. Each command is shown before it runs.
HELP
}

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# not_before 23.1 25.0.7-2~bpo12+1: is the second version the first or later? By major and minor.
not_before() {
  [ "$(version_number "$2")" -ge "$(version_number "$1")" ]
}
version_number() {
  echo "$1" | sed 's/^[0-9]*://' | awk -F '[^0-9]+' '{ print $1 * 1000 + $2 }'
}

# What needs root: a command a line. Run by run_plan, or printed.
plan=""
add_plan() { plan="$plan$1
"; }

run_plan() {
  [ -n "$plan" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    say "this needs root. Run, then call setup.sh again:"
    printf '%s' "$plan" | sed 's/^/  sudo /' >&2
    return 1
  fi
  # The loop reads from a descriptor of its own, so that a command cannot eat the rest of the plan.
  while IFS= read -r command <&3; do
    [ -n "$command" ] || continue
    say "+ $command"
    quiet=$(echo "$command" | sed 's/^apt-get /apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 /')
    DEBIAN_FRONTEND=noninteractive sh -c "$quiet" </dev/null >&2 || fail "failed: $command"
  done 3<<PLAN
$plan
PLAN
  plan=""
}

# --- Bun ---

bun_path_help() {
  fail "bun is in $1, which is not on PATH. Run this, and put it in your shell's profile:
  export PATH=\"$1:\$PATH\""
}

ensure_bun() {
  if has bun; then
    version=$(bun --version 2>/dev/null) || version=0
    not_before "$BUN_OLDEST" "$version" && return
    if [ "$version" != 0 ]; then
      fail "bun $version ($(command -v bun)) is too old, $BUN_OLDEST or later is needed. Run: bun upgrade, or npm install -g bun@$BUN_VERSION"
    fi
  fi
  if ! has npm; then
    has apt-get || fail "neither bun nor npm is installed. Install Node.js with npm (https://nodejs.org), then call setup.sh again"
    add_plan "apt-get update"
    add_plan "apt-get install -y --no-install-recommends npm ca-certificates"
    if [ "$(id -u)" != 0 ]; then
      add_plan "npm install -g bun@$BUN_VERSION"
      return
    fi
    run_plan
  fi
  prefix=$(npm prefix -g 2>/dev/null)
  modules=$(npm root -g 2>/dev/null)
  bin=$prefix/bin
  case $system in Windows) bin=$prefix ;; esac
  if ! { [ -e "$modules/bun/package.json" ] && "$bin/bun" --version >/dev/null 2>&1; }; then
    if [ "$(id -u)" != 0 ] && ! can_write "$modules"; then
      add_plan "npm install -g bun@$BUN_VERSION"
      return
    fi
    say "+ npm install -g bun@$BUN_VERSION"
    npm install -g --no-fund --no-audit "bun@$BUN_VERSION" </dev/null >&2 || fail "failed: npm install -g bun@$BUN_VERSION"
    # npm 11 may hold back install scripts; bun's puts the binary in its place.
    if ! "$bin/bun" --version >/dev/null 2>&1; then
      say "+ node $modules/bun/install.js"
      (cd "$modules/bun" && node install.js) >&2 || fail "failed: node $modules/bun/install.js"
    fi
  fi
  hash -r 2>/dev/null || true
  has bun || bun_path_help "$bin"
  version=$(bun --version) || fail "bun was installed in $bin but does not start"
  say "bun $version: $(command -v bun)"
}

# Whether a folder, or the nearest one above it that exists, can be written to.
can_write() {
  folder=$1
  while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
  [ -w "$folder" ]
}

# --- the GPU driver ---

# The files by which drivers make themselves known to the Vulkan loader.
icd_files() {
  if [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ]; then
    echo "${VK_DRIVER_FILES:-$VK_ICD_FILENAMES}" | tr ':' '\n'
    return
  fi
  for folder in "${XDG_CONFIG_HOME:-$HOME/.config}" /etc /usr/local/etc "${XDG_DATA_HOME:-$HOME/.local/share}" /usr/local/share /usr/share; do
    for file in "$folder"/vulkan/icd.d/*.json; do echo "$file"; done
  done
}

# Whether a library that a driver file names is there: a path, or a name that the linker knows.
library_exists() {
  case $1 in
    "") return 1 ;;
    /*) [ -e "$1" ] ;;
    */*) [ -e "$(dirname "$2")/$1" ] ;;
    *) case $libraries in *"$1 "*) ;; *) return 1 ;; esac ;;
  esac
}

# Prints the driver that Dawn will accept, as far as can be told without asking it; fails where there is none.
find_driver() {
  libraries=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null || true)
  case $libraries in *"libvulkan.so.1 "*) ;; *) return 1 ;; esac
  drivers=$(icd_files)
  while IFS= read -r icd; do
    [ -r "$icd" ] || continue
    mesa=""
    library=$(sed -n 's/.*"library_path"[^"]*"\([^"]*\)".*/\1/p' "$icd" | head -n 1)
    library_exists "$library" "$icd" || continue
    case $library in
      *nvidia*) [ -e /dev/nvidiactl ] || continue ;;
      */lib/*libvulkan_* | libvulkan_*)
        mesa=$(dpkg-query -W -f '${Version}\n' mesa-vulkan-drivers 2>/dev/null | head -n 1 || true)
        # A Mesa that is not Debian's package was put there on purpose: trusted.
        [ -z "$mesa" ] || not_before "$MESA_OLDEST" "$mesa" || continue
        ;;
    esac
    case $mesa in "") echo "$icd" ;; *) echo "Mesa $mesa" ;; esac
    return 0
  done <<LIST
$drivers
LIST
  return 1
}

backports_configured() {
  find /etc/apt/sources.list /etc/apt/sources.list.d -name '*.list' -o -name '*.sources' 2>/dev/null |
    while IFS= read -r file; do grep -v '^[[:space:]]*#' "$file" 2>/dev/null || true; done |
    grep -q 'bookworm-backports'
}

ensure_driver() {
  [ "$system" = Linux ] || return 0
  if driver=$(find_driver); then return; fi
  if [ -e /dev/nvidiactl ] || [ -e /proc/driver/nvidia/version ]; then
    say "an NVIDIA GPU is here, but its Vulkan driver is not: on a machine of your own install libnvidia-gl (Ubuntu) or"
    say "nvidia-driver (Debian); in a container set NVIDIA_DRIVER_CAPABILITIES=all. Until then the CPU computes."
  fi
  if ! has apt-get; then
    say "no Vulkan driver was found. Install your GPU's, or Mesa's software driver (Fedora: mesa-vulkan-drivers vulkan-loader; Arch: vulkan-swrast vulkan-icd-loader)"
    return 0
  fi
  packages="mesa-vulkan-drivers libvulkan1"
  case $codename in
    bookworm)
      if ! backports_configured; then
        say "Debian 12's own Mesa is too old for Dawn: adding its backports, in $BACKPORTS_FILE"
        add_plan "sh -c 'echo \"$BACKPORTS\" > $BACKPORTS_FILE'"
      fi
      add_plan "apt-get update"
      add_plan "apt-get install -y --no-install-recommends -t bookworm-backports $packages"
      ;;
    bullseye | buster | focal | bionic)
      fail "no Vulkan driver was found that Dawn accepts, and this release ($codename) has no Mesa $MESA_OLDEST or later: upgrade it, or install your GPU's driver"
      ;;
    *)
      add_plan "apt-get update"
      add_plan "apt-get install -y --no-install-recommends $packages"
      ;;
  esac
}

check_driver() {
  [ "$system" = Linux ] || return 0
  driver=$(find_driver) || fail "no Vulkan driver that Dawn accepts, after installing one: see /usr/share/vulkan/icd.d and \"dpkg -l mesa-vulkan-drivers\""
  say "Vulkan driver: $driver"
}

# --- dependencies ---

ensure_dependencies() {
  stamp=node_modules/.setup-stamp
  state=$({ cat package.json bun.lock framework/std/*/package.json; uname -sm; } | cksum)
  [ "$(cat "$stamp" 2>/dev/null)" = "$state" ] && return
  say "+ bun install --frozen-lockfile"
  bun install --frozen-lockfile </dev/null >&2 || fail "failed: bun install --frozen-lockfile"
  echo "$state" >"$stamp"
}

case ${1:-} in
  "") ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; fail "unknown argument: $1" ;;
esac

cd "$(dirname "$0")"
case $(uname -s) in
  Linux) system=Linux ;;
  Darwin) system=macOS ;;
  MINGW* | MSYS* | CYGWIN*) system=Windows ;;
  *) system=other ;;
esac
# shellcheck source=/dev/null
codename=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}") || codename=""

ensure_bun
ensure_driver
if has bun; then ensure_dependencies; fi
if [ -n "$plan" ]; then
  case $plan in *mesa-vulkan-drivers*) installs_driver=yes ;; *) installs_driver=no ;; esac
  run_plan || exit 1
  if [ "$installs_driver" = yes ]; then check_driver; fi
fi
say "ready"
