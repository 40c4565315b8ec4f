#!/usr/bin/env bash
#
# Make this machine one of the cluster: astmoa and the versions of constraints.txt in ~/.astmoa/venv, and the settings
# that are given in ~/.astmoa/env.sh, which ~/.bashrc reads. `ray up` calls it on every machine, from the folder that it
# has copied there; again after every change, which takes seconds.
#
#   bash ~/.astmoa/source/cluster/setup.sh [NAME=VALUE ...]
#
# It needs Python 3.11 to 3.13, or the network to get one. Nothing outside of ~/.astmoa is changed but one line at the
# end of ~/.bashrc; and python3-venv is installed where it is missing and sudo asks for no password.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=$HOME/.astmoa
venv=$home/venv
mkdir -p "$home"
chmod 700 "$home"

fail() {
  echo "setup.sh on $(hostname): $1" >&2
  exit 1
}

for setting; do
  case $setting in [A-Z]*=*) ;; *) fail "$setting is no setting: give NAME=VALUE" ;; esac
done

# uv takes seconds where pip takes minutes, and brings a Python where the machine's own is too old.
uv=$(command -v uv || echo "$home/uv/bin/uv")
if ! [ -x "$uv" ]; then
  python3 -m venv "$home/uv" >"$home/setup.log" 2>&1 || {
    sudo -n apt-get update --quiet=2 && sudo -n apt-get install --yes --quiet=2 python3-venv && python3 -m venv "$home/uv"
  } >>"$home/setup.log" 2>&1 ||
    fail "python3 cannot make an environment: install python3 and python3-venv (apt-get install python3-venv)"
  "$home/uv/bin/pip" install --quiet uv >>"$home/setup.log" 2>&1 ||
    fail "pip cannot get uv: is a package index to be reached from here? See ~/.astmoa/setup.log"
fi

# What has changed since the last time? Sources are used where they lie; a change of them needs no installation.
wanted() {
  (echo "$here" "$@" && cat "$here/pyproject.toml" "$here/cluster/constraints.txt" "$home/python" 2>/dev/null) | sha256sum
}
if [ "$(wanted "$@")" != "$(cat "$home/installed" 2>/dev/null)" ] || ! [ -x "$venv/bin/ray" ]; then
  rm -f "$home/installed"
  # The head's version, which `ray up` has copied to a worker before this runs there: Ray takes no other on one cluster.
  version=$(cat "$home/python" 2>/dev/null || echo ">=3.11,<3.14")
  "$uv" venv --quiet --clear --python "$version" "$venv" >>"$home/setup.log" 2>&1 ||
    fail "no Python $version here, and none to be had: install one. See ~/.astmoa/setup.log"
  extras=aws
  case " $* " in *ASTMOA_TRACKER_STORE=postgres*) extras+=,postgres ;; esac
  # compat: Python finds it also in a home folder that holds a checkout called astmoa, which it would take for the package.
  install=(install --config-settings editable_mode=compat --constraint "$here/cluster/constraints.txt" --editable "${here}[$extras]")
  VIRTUAL_ENV=$venv "$uv" pip "${install[@]}" >>"$home/setup.log" 2>&1 || {
    # uv does not read pip.conf, where an index of your own may be named.
    VIRTUAL_ENV=$venv "$uv" pip install --quiet pip >>"$home/setup.log" 2>&1 || python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip "${install[@]}" >>"$home/setup.log" 2>&1
  } || fail "astmoa cannot be installed: $(grep -v '^ *$' "$home/setup.log" | tail -n 1). See ~/.astmoa/setup.log"
  "$venv/bin/python" -c 'import sys; print(*sys.version_info[:2], sep=".")' >"$home/python"
  wanted "$@" >"$home/installed"
fi

# One token for the whole cluster, or anybody on its network could run programs on it. The head makes it; a worker has it
# from there (cluster_synced_files).
token=$home/auth_token
[ -s "$token" ] || (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$token")
chmod 600 "$token"

{
  echo "# Written by cluster/setup.sh at every ray up."
  # shellcheck disable=SC2016 # to be expanded by whoever reads it
  echo 'export PATH="$HOME/.astmoa/venv/bin:$PATH"'
  # shellcheck disable=SC2016
  echo 'export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$HOME/.astmoa/auth_token"'
  echo "export RAY_USAGE_STATS_ENABLED=0 RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL=minor"
  # As a sweep sets them for a Ray of its own (astmoa/backend/__init__.py).
  echo "export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0 RAY_LD_PRELOAD_ON_WORKERS=1"
  # Or a network that was gone for seconds would hold up what ran then for Ray's usual five minutes.
  echo "export RAY_grpc_keepalive_timeout_ms=120000"
  # How long a worker machine goes on without its head (Ray: 60).
  echo "export RAY_gcs_rpc_server_reconnect_timeout_s=30"
  echo "export MALLOC_CONF=oversize_threshold:0,dirty_decay_ms:60000"
  # Short: Ray's sockets lie below it, and Linux allows them 107 characters. folder.sh closes it to others.
  echo "export RAY_TMPDIR=/tmp/astmoa-$(id -un | cut -c-20)"
  for setting; do printf 'export %s=%q\n' "${setting%%=*}" "${setting#*=}"; done
} >"$home/env.sh"
line='[ ! -f ~/.astmoa/env.sh ] || . ~/.astmoa/env.sh # astmoa'
grep -qxF "$line" ~/.bashrc 2>/dev/null || printf '\n%s\n' "$line" >>~/.bashrc

"$venv/bin/python" -c "import astmoa.provenance as p; print('astmoa', p.package_hash(), 'is ready')" ||
  fail "astmoa is installed and cannot be imported, see above"
