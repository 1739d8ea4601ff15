#!/bin/bash
# Prints everything about a tree that a backup has to keep, one thing per line, the top itself left out: names, types, modes,
# owners, times of modification, link targets, contents, hard links, extended attributes and ACLs. Two trees are equal if
# their listings are.
#
#   tests/scripts/listing.sh DIRECTORY
set -euo pipefail
export LC_ALL=C
cd "$1"

# Names are any bytes: NUL ends one, and a newline in one is shown as a question mark.
lines() { tr '\n\0' '?\n' | sort | cat -v; }
# The size and the links of a directory are the file system's own business.
find . -mindepth 1 -printf '%P %y %m %U:%G %T@ size:%s links:%n -> %l\0' | lines |
  sed -E '/ d [0-7]+ /s/ size:[0-9]+ links:[0-9]+//'
find . -type f -print0 | sort -z | xargs -0 -r sha256sum -b | cat -v
# Which names are one file.
find . -type f -links +1 -printf '%P = %i\0' | lines |
  awk '{ i = $NF; $NF = ""; if (!(i in first)) first[i] = $0; print $0 first[i] }'
find . -mindepth 1 ! -type p -print0 | sort -z | xargs -0 -r getfattr -h -d -m '^(user|trusted|security)\.' -e hex -- | cat -v
find . -mindepth 1 ! -type l -print0 | sort -z | xargs -0 -r getfacl -n -c -E -- | cat -v
