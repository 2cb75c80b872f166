# shellcheck shell=bash disable=SC2034,SC2154
# Getting a Debian or Ubuntu machine ready: which packages the project needs, installing the ones
# that are missing, opening /dev/fuse, building. Sourced by tools/quickstart and tests/run, never run by itself.
#
# Everything here says what it changes before it changes it. The caller sets `set -euo pipefail`, `top` (the
# source tree) and defines nothing else.

# What the build needs (Python and Catch2 since the tests are configured with it), and what the programs call at run time.
readonly build_packages=(
  g++ cmake ninja-build pkg-config python3
  libfuse3-dev librocksdb-dev libboost-filesystem-dev libspdlog-dev libexpected-dev
  libcli11-dev nlohmann-json3-dev libseccomp-dev zlib1g-dev libarchive-dev libssl-dev catch2
)
readonly run_packages=(fuse3 uidmap util-linux passwd)
# What the tests use besides: chattr, setfattr, setfacl, setcap, unshare, mount, strace; other file systems to lie on, the
# stock quota tools to be compared with; and programs that people run.
readonly test_packages=(
  e2fsprogs btrfs-progs xfsprogs quota attr acl libcap2-bin mount kmod procps git strace rsync sqlite3 fakeroot
)
# Parts of util-linux that some releases have in a package of its own, and some do not have.
readonly more_packages=(util-linux-extra)
# Wanted for the lint only, installed where the distribution has them; the lint says loudly what it left out. Another
# version of clang-format would not do: each finds other things well formatted.
readonly lint_packages=(clang-format-14 shellcheck clang clang-tidy-14)

note() { printf '%s\n' "$*"; }
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Runs a command as root: directly, or by a sudo that asks nothing when there is no terminal.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif [ -t 0 ]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}
can_be_root() {
  [ "$(id -u)" -eq 0 ] && return 0
  command -v sudo >/dev/null || return 1
  sudo -n true 2>/dev/null || [ -t 0 ]
}

# Prints those of its arguments that dpkg does not have installed.
missing_packages() {
  # A purely virtual or differently named package counts as there when something provides it.
  dpkg-query -W -f='${db:Status-Status} ${Package} ${Provides}\n' 2>/dev/null |
    awk 'BEGIN { for (i = 1; i < ARGC; i++) wanted[i] = ARGV[i]; count = ARGC; ARGC = 1 }
      $1 == "installed" { has[$2] = 1
        for (i = 3; i <= NF; i++) { sub(/,$/, "", $i); has[$i] = 1 } }
      END { for (i = 1; i < count; i++) if (!(wanted[i] in has)) print wanted[i] }' "$@"
}

# install_missing PACKAGE...: installs what is absent; without root says the one line to paste and ends.
install_missing() {
  command -v dpkg-query >/dev/null ||
    die "this is not Debian or Ubuntu: install the libraries that CMakeLists.txt names, then run cmake --preset release"
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ "${#missing[@]}" -gt 0 ] || return 0
  can_be_root || die "packages are missing and there is no root here; paste: sudo apt-get install -y ${missing[*]}"
  note "Installing what is missing: ${missing[*]}"
  # A machine that has never been updated knows no packages; one that has may install without the network's list.
  if ! apt_install "${missing[@]}" 2>/dev/null; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update </dev/null ||
      note "apt-get update failed; trying with the lists at hand"
    apt_install "${missing[@]}" || die "apt-get could not install: ${missing[*]}"
  fi
}
apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" </dev/null >/dev/null
}

# install_wanted PURPOSE PACKAGE...: the same, but what the distribution does not have is left out, and named.
install_wanted() {
  local purpose=$1 package available=() absent=()
  shift
  for package in $(missing_packages "$@"); do
    if can_be_root && apt-cache show "$package" >/dev/null 2>&1; then
      available+=("$package")
    else
      absent+=("$package")
    fi
  done
  if [ "${#available[@]}" -gt 0 ]; then
    note "Installing for $purpose: ${available[*]}"
    apt_install "${available[@]}" || absent+=("${available[@]}")
  fi
  [ "${#absent[@]}" -eq 0 ] ||
    note "NOT INSTALLED, wanted for $purpose: ${absent[*]}; what needs them is skipped, and named at the end"
}

# Ordinary users need /dev/fuse open to them, as every distribution's udev rule has it.
open_fuse_device() {
  # A bare system, not yet set up by an installer or a container engine, may lack it.
  if [ ! -e /etc/mtab ] && can_be_root; then
    note "Making /etc/mtab, without which fusermount3 does not unmount: a link to /proc/self/mounts"
    as_root ln -sf ../proc/self/mounts /etc/mtab
  fi
  if [ ! -e /dev/fuse ] && can_be_root; then
    note "There is no /dev/fuse: loading the kernel's module fuse"
    as_root modprobe fuse 2>/dev/null || true
  fi
  [ -e /dev/fuse ] || {
    note "There is no /dev/fuse here; in a container start it with --device /dev/fuse"
    return 0
  }
  case "$(stat -c %a /dev/fuse)" in
    *[67][67]) return 0 ;;
  esac
  if can_be_root; then
    note "Opening /dev/fuse to ordinary users: chmod 666 /dev/fuse"
    as_root chmod 666 /dev/fuse
  else
    note "/dev/fuse is closed to ordinary users; paste: sudo chmod 666 /dev/fuse"
  fi
}

# One compiler job takes up to a gigabyte; more of them than memory would swap.
build_jobs() {
  local cpus memory_jobs
  cpus=$(nproc)
  memory_jobs=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
  [ "${memory_jobs:-1}" -ge 1 ] || memory_jobs=1
  echo $((cpus < memory_jobs ? cpus : memory_jobs))
}

# build PRESET [TARGET...]: configures and builds below build/PRESET; quiet unless it fails.
build() {
  local preset=$1 log
  shift
  mkdir -p "$top/build"
  log="$top/build/$preset.log"
  note "Building preset $preset in build/$preset (log: build/$preset.log)"
  if ! (
    cd "$top"
    cmake --preset "$preset"
    cmake --build "build/$preset" -j "$(build_jobs)" ${1:+--target "$@"}
  ) >"$log" 2>&1 </dev/null; then
    tail -n 60 "$log" >&2
    die "the build of preset $preset failed; the whole log is build/$preset.log"
  fi
}
