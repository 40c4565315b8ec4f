#!/usr/bin/env bash
#
# Ray's folder on this machine, for its owner alone: Ray opens what it makes to every user of the machine, and the logs,
# sockets and spilled features of a sweep lie there. `ray up` calls this before Ray starts.
#
#   bash ~/.astmoa/source/cluster/folder.sh
#
# It is $RAY_TMPDIR, which setup.sh sets. `ray monitor` looks at another place for its logs, and is led here from there.
set -euo pipefail

fail() {
  echo "folder.sh on $(hostname): $1" >&2
  exit 1
}

folder=${RAY_TMPDIR:-}
[ -n "$folder" ] || fail "RAY_TMPDIR is not set: call setup.sh first"
(umask 077 && mkdir -p "$folder") || fail "$folder cannot be made: give setup.sh another one, RAY_TMPDIR=FOLDER"
if ! [ -O "$folder" ] || [ -L "$folder" ]; then
  fail "$folder is somebody else's: give setup.sh another one, RAY_TMPDIR=FOLDER"
fi
chmod 700 "$folder"

shared=/tmp/ray # everybody's, as Ray makes it: theirs is left alone
(umask 0 && mkdir -p "$shared" && ln -sfn "$folder/ray/session_latest" "$shared/session_latest") 2>/dev/null || true
