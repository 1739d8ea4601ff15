#!/bin/bash
# Installs the Debian packages that the tests drive: ZFS on FUSE, PostgreSQL, MariaDB, and the tools that check from outside what
# bkhost wrote; and from PyPI, into the build output, moto and other majors of PostgreSQL. Idempotent: does nothing, and needs no root, when all of them
# are there. Else root, or sudo without a password.
#
#   tests/scripts/install.sh             install what is missing
#   tests/scripts/install.sh --build     only what building takes: a C compiler
#   tests/scripts/install.sh --missing   only print what is missing
set -euo pipefail

packages=(
  zfs-fuse fuse                     # a ZFS without a kernel module: pools on plain files
  postgresql-15 postgresql-client-15
  mariadb-server-core mariadb-client mariadb-backup   # without mariadb-server: nothing that starts a server at boot
  user-mode-linux lvm2 thin-provisioning-tools busybox-static kmod xfsprogs e2fsprogs   # LVM, in a kernel of its own
  btrfs-progs psmisc                # btrfs on loop devices; fuser, which sees who works in a subvolume
  zstd tar age rsync attr acl       # reading archives, copying and comparing trees from outside
  openssl                           # certificates for tests of TLS
  openssh-server openssh-client     # commands on another machine
  git                               # the repositories of a small home
  procps util-linux                 # ps, setpriv, unshare, fsfreeze
  e2fsprogs xfsprogs                # file systems to freeze
  python3 python3-venv              # moto, which stands in for AWS; other majors of PostgreSQL
  faketime                          # runs on another date
)

building=(gcc libc6-dev)
case ${1-} in
  --build)
    # Any C compiler will do.
    if command -v cc >/dev/null; then exit 0; fi
    packages=("${building[@]}") ;;
  *) packages+=("${building[@]}") ;;
esac

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ "${1-}" = --missing ]; then
  [ ${#missing[@]} = 0 ] || printf '%s\n' "${missing[@]}"
  exit 0
fi

# What does not come from Debian.
others() {
  [ "${1-}" != --build ] || return 0
  "$(dirname "${BASH_SOURCE[0]}")/moto.sh" install
  "$(dirname "${BASH_SOURCE[0]}")/postgres.sh" install
}

if [ ${#missing[@]} = 0 ]; then
  others "$@"
  exit 0
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
  if ! { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; then
    echo "install: error: the tests need packages that are missing; as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo -n)
fi

# The package must not start a server of its own: the tests start theirs, in directories of their own.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
  "${as_root[@]}" mkdir -p /etc/postgresql-common
  echo "create_main_cluster = false" | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
if [ ! -e /usr/sbin/sshd ]; then
  "${as_root[@]}" mkdir -p /etc/ssh
  "${as_root[@]}" touch /etc/ssh/sshd_not_to_be_run
fi
for attempt in 1 2 3; do
  echo "install: installing ${missing[*]} (attempt $attempt of 3)" >&2
  "${as_root[@]}" apt-get -q -o DPkg::Lock::Timeout=300 update >&2 || true
  if "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Options::=--force-confold install --no-install-recommends "${missing[@]}" >&2; then
    others "$@"
    exit 0
  fi
  sleep 2
done
echo "install: error: apt-get could not install ${missing[*]} (see above)" >&2
exit 1
