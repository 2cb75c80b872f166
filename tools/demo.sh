#!/bin/bash
# shellcheck disable=SC2016 # dpkg-query expands its own ${...}
# The main job of the project, done once and explained: a world under a limit, a real package in it, the
# limit reached, the host untouched. tools/quickstart runs it; it needs `troot` in PATH and an ordinary user.
#
# Every step prints why, the command as typed, and what came of it. The first that fails ends it with an error.
set -uo pipefail
export LC_ALL=C.UTF-8
readonly world=quickstart limit=300M limit_bytes=314572800

scratch=$(mktemp -d /tmp/troot-demo.XXXXXX) || exit 1
made=no
# shellcheck disable=SC2317 # called by the trap
leave() {
  local status=$?
  trap - EXIT
  if [ $made = yes ]; then timeout 60 troot rm --force "$world" >/dev/null 2>&1 || true; fi
  rm -rf "$scratch"
  exit $status
}
trap leave EXIT
trap 'exit 130' INT TERM

step=0
title() {
  step=$((step + 1))
  printf '\n--- %d. %s\n' "$step" "$1"
}
why() { printf '    %s\n' "$@"; }
fail() {
  printf '\nquickstart: step %d failed: %s\n' "$step" "$*" >&2
  exit 1
}
# Prints a command as one would type it.
typed() {
  local word line='$'
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_/.,:=@%+-]* | '') line+=" '${word//\'/\'\\\'\'}'" ;;
      *) line+=" $word" ;;
    esac
  done
  printf '\n    %s\n' "$line"
}
# try COMMAND...: types it, runs it, shows its last lines, keeps its output in $scratch/out; returns its status.
try() {
  local status
  typed "$@"
  timeout 900 "$@" >"$scratch/out" 2>&1 </dev/null
  status=$?
  tail -n 12 "$scratch/out" | sed 's/^/    | /'
  return $status
}
must() { try "$@" || fail "'$*' ended with status $?"; }
must_not() {
  if try "$@"; then fail "'$*' should have failed"; fi
}
# used: what the world's status says, in bytes.
used() {
  timeout 20 troot status "$world" --json 2>/dev/null | tr -d ' \n' | sed -n 's/.*"used_bytes":\([0-9]*\).*/\1/p'
}
# Digests of the host's programs, settings and package records, as far as this user may read them, into the file $1.
host_files() {
  find /etc /usr/bin /usr/sbin /var/lib/dpkg -xdev -type f -readable -print0 2>/dev/null | sort -z |
    xargs -0 sha256sum >"$1" 2>/dev/null
  printf '\n    | %s files, together %s\n' "$(wc -l <"$1")" "$(sha256sum <"$1" | cut -c1-32)"
}

title "Who we are"
must id
why "An ordinary user: no root, no sudo, no setuid program of ours."
[ "$(id -u)" -ne 0 ] || fail "run this as an ordinary user"

title "Can this machine do it?"
why "troot doctor tries each thing for real and says what would mend what fails."
must troot doctor

title "The host before"
why "A digest over its programs, settings and package records, to compare in the end."
host_files "$scratch/before"

title "Create a world"
why "A private, writable view of /, which may take $limit of disk and no byte more."
must troot create "$world" --limit "$limit"
made=yes
must troot status "$world"

title "Install a real package in it"
program="" package=""
# cron makes a group and a setgid program, at makes files of another owner: what installers do as root.
for candidate in cron:crontab at:atq bc:bc; do
  if ! dpkg-query -W -f='${db:Status-Status}' "${candidate%:*}" 2>/dev/null | grep -qx installed; then
    package=${candidate%:*} program=${candidate#*:}
    break
  fi
done
apt=(apt-get -q -y -o Dpkg::Use-Pty=0 -o Acquire::Retries=0 -o Acquire::http::Timeout=20)
install=(troot exec "$world" -- "${apt[@]}" install --no-install-recommends "$package")
installed=no reason=""
if [ -z "$package" ]; then
  reason="This host has every package already that this demonstration knows to install (cron, at, bc)."
else
  why "The package '$package', which the host does not have, from the distribution's own archive."
  if try "${install[@]}"; then
    installed=yes
  else
    why "apt-get could not; its lists may be missing or old, so they are fetched anew, in the world."
    try troot exec "$world" -- "${apt[@]}" update || true
    if grep -Eq 'Failed to fetch|Could not (resolve|connect)|Temporary failure resolving' "$scratch/out"; then
      reason="The distribution's archive cannot be reached from here, as apt-get says above."
    else
      must "${install[@]}"
      installed=yes
    fi
  fi
fi
if [ $installed = no ]; then
  why "$reason" "A package built here and now does as well: with a system group, a chown and a setgid program, set up by dpkg."
  package=troot-hello program=troot-hello
  mkdir -p "$scratch/deb/DEBIAN" "$scratch/deb/usr/bin"
  printf '#!/bin/sh\necho hello from a package that only this world has\n' >"$scratch/deb/usr/bin/$program"
  chmod 755 "$scratch/deb/usr/bin/$program"
  printf 'Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: a demonstration\n' \
    "$package" >"$scratch/deb/DEBIAN/control"
  printf '#!/bin/sh\nset -e\ngroupadd --system trootdemo\nchown root:trootdemo /usr/bin/%s\nchmod 2755 /usr/bin/%s\n' \
    "$program" "$program" >"$scratch/deb/DEBIAN/postinst"
  chmod 755 "$scratch/deb/DEBIAN/postinst"
  dpkg-deb --root-owner-group --build "$scratch/deb" "$scratch/$package.deb" >/dev/null || fail "dpkg-deb could not build it"
  # /tmp in a world is its own: the package goes in by a pipe.
  typed troot exec "$world" -- sh -c "cat > /root/$package.deb" "< $package.deb"
  timeout 60 troot exec "$world" -- sh -c "cat > /root/$package.deb" <"$scratch/$package.deb" || fail "could not copy it in"
  must troot exec "$world" -- dpkg -i "/root/$package.deb"
fi

title "It is there inside, and only inside"
must troot exec "$world" -- dpkg-query -W -f='${Package} ${Version}: ${db:Status-Status}\n' "$package"
grep -q ': installed' "$scratch/out" || fail "dpkg inside does not have $package as installed"
must troot exec "$world" -- sh -c "ls -l \$(command -v $program)"
why "On the host:"
# A package that dpkg has only heard of is answered without an error: what counts is the state.
must_not sh -c "dpkg-query -W -f='\${db:Status-Status}\n' $package | grep -x installed"
must_not sh -c "command -v $program"

title "Fill it to the limit"
why "dd writes until it may not: the write that does not fit gets 'Disk quota exceeded' (EDQUOT)."
must_not troot exec "$world" -- dd if=/dev/zero of=/big bs=1M
grep -q 'Disk quota exceeded' "$scratch/out" || fail "dd did not say 'Disk quota exceeded'"
must troot status "$world"
[ "$(used)" = "$limit_bytes" ] || fail "used is $(used) bytes, not the limit of $limit_bytes"
why "Used is exactly $limit_bytes bytes: the limit, not a byte more."

title "Make room, and write again at once"
must troot exec "$world" -- rm /big
must troot exec "$world" -- dd if=/dev/zero of=/again bs=1M count=20
must troot exec "$world" -- rm /again
for _ in 1 2 3 4 5 6 7 8 9 10; do
  [ "$(used)" -ge "$limit_bytes" ] || break
  sleep 0.1
done
[ "$(used)" -lt "$limit_bytes" ] || fail "used did not fall after rm"

title "Raise the limit while a program runs into it"
why "A shell in the world fills the disk, waits for the limit to change, and goes on writing; it is never restarted."
running='dd if=/dev/zero of=/more bs=1M 2>/dev/null; echo full; while ! dd if=/dev/zero of=/last bs=1M count=50 2>/dev/null; do sleep 0.1; done; echo went on'
typed troot exec "$world" -- sh -c "$running" '&'
timeout 120 troot exec "$world" -- sh -c "$running" >"$scratch/running" 2>&1 </dev/null &
running_pid=$!
for _ in $(seq 600); do
  grep -q full "$scratch/running" && break
  sleep 0.1
done
must troot quota "$world" --limit 400M
wait $running_pid || fail "the running program ended with status $?"
sed 's/^/    | /' "$scratch/running"
grep -q 'went on' "$scratch/running" || fail "the running program could not go on"
must troot exec "$world" -- rm /more /last
must troot list

title "The host after"
host_files "$scratch/after"
cmp -s "$scratch/before" "$scratch/after" ||
  fail "files of the host are not what they were:" "$(diff "$scratch/before" "$scratch/after" | sed -n 's/^[<>] [0-9a-f]*  //p' | sort -u)"
why "The same digest: nothing outside the world was written."

title "Throw it away"
must troot rm "$world"
made=no
must_not troot status "$world"

printf '\nDone: %d steps. Try it yourself: troot create mine --limit 2G; troot enter mine\n' "$step"
