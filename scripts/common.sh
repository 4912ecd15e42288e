# Sourced by scripts/run and scripts/test: messages, Debian packages, building.
# shellcheck shell=bash disable=SC2034

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=$root/build/release/pgproxy
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=true  # another checkout finds the same objects
export CCACHE_SLOPPINESS=pch_defines,time_macros   # what precompiled headers need

build_packages=(g++ cmake ninja-build pkgconf ccache libuv1-dev libssl-dev libinih-dev libspdlog-dev
                libcli11-dev libsystemd-dev libpq-dev libpg-query-dev libprotobuf-c-dev
                libxxhash-dev libidn-dev prometheus-cpp-dev libcivetweb-dev nlohmann-json3-dev)

say() { if [[ -t 2 ]]; then printf '\e[1m== %s\e[0m\n' "$*" >&2; else echo "== $*" >&2; fi; }

# die WHAT [WHAT TO DO]...
die() {
  printf '%s\n' "${0##*/}: $1" "${@:2}" >&2
  exit 1
}

# need_disk DIRECTORY MEGABYTES: the directory need not exist yet.
need_disk() {
  local directory=$1 free_mb
  until [[ -d $directory ]]; do directory=$(dirname "$directory"); done
  free_mb=$(df -Pm "$directory" | awk 'NR == 2 { print $4 }')
  ((free_mb >= $2)) ||
    die "only $free_mb MB free on the disk of $directory, about $2 MB are needed for $1"
}

missing_packages() {
  local package
  for package in "$@"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null) == installed ]] ||
      echo "$package"
  done
}

# install_packages NAME...: those that are missing; as root or with sudo.
install_packages() {
  local missing as_root=()
  command -v dpkg-query apt-get > /dev/null ||
    die "this is not Debian: install what these Debian packages hold, and build with" \
      "  cmake --preset release && cmake --build --preset release" "packages: $*"
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  if ((EUID != 0)); then
    local remedy=("As root, run:" "  apt-get update && apt-get install --no-install-recommends ${missing[*]}")
    command -v sudo > /dev/null ||
      die "Debian packages are missing, and here is neither root nor sudo." "${remedy[@]}"
    if [[ -t 0 ]]; then sudo -v; else sudo -n true; fi ||
      die "Debian packages are missing, and sudo refuses." "${remedy[@]}"
    as_root=(sudo)
  fi
  say "Installing Debian packages: ${missing[*]}"
  as_root+=(env DEBIAN_FRONTEND=noninteractive)
  "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update ||
    say "apt-get update failed (see above): going on with the package lists that are here"
  install_quietly "${missing[@]}" || die "apt-get install failed: see above (disk full? another apt running?)"
}

# Debian's postgresql package starts a cluster of its own on port 5432; nobody asked for one here.
install_quietly() {
  local no_cluster=/etc/postgresql-common/createcluster.d/pgproxy-installs.conf status=0
  if [[ " $* " == *" postgresql-15 "* ]]; then
    "${as_root[@]}" mkdir -p "${no_cluster%/*}"
    echo "create_main_cluster = false" | "${as_root[@]}" tee "$no_cluster" > /dev/null
  fi
  "${as_root[@]}" apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install \
    --no-install-recommends "$@" || status=$?
  "${as_root[@]}" rm -f "$no_cluster"
  return "$status"
}

# build PRESET TARGET: into build/PRESET, incrementally.
build() {
  local tree=$root/build/$1
  mkdir -p "$tree" 2> /dev/null || true
  [[ -w $tree ]] || die "cannot write to $tree" "Remove $root/build, or run as the user that it belongs to."
  need_disk "$tree" 500
  say "Building $1 in $tree"
  if [[ ! -f $tree/build.ninja || $root/CMakePresets.json -nt $tree/build.ninja ]]; then
    cmake -S "$root" --preset "$1" > "$tree/configure.log" 2>&1 ||
      { cat "$tree/configure.log" >&2; die "cmake found something wrong: see above"; }
  fi
  cmake --build "$tree" --target "$2" || die "the build of $1 failed: see above"
}
