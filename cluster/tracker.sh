#!/usr/bin/env bash
#
# The MLflow server of a cluster, on its head: started by `ray up`, and gone when Ray is (`ray down` does not know it).
#
#   bash ~/.astmoa/source/cluster/tracker.sh
#
# It listens on loopback alone; from elsewhere it is reached through an ssh tunnel (cluster/README.md). Where it keeps
# runs and artifacts is set in the cluster file: ASTMOA_TRACKER_STORE (default: a SQLite file in ~/.astmoa/tracker; or
# postgresql://USER@HOST/DATABASE, its password in ~/.pgpass on the head) and ASTMOA_TRACKER_ARTIFACTS (default: beside
# it; or s3://bucket/prefix).
set -euo pipefail

folder=$HOME/.astmoa/tracker
port=${ASTMOA_TRACKER_PORT:-5000}
ray_port=${ASTMOA_RAY_PORT:-6379}
mkdir -p "$folder"

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

if [ "${1:-}" = --watch ]; then # in the background: the server, until Ray has not answered for ten seconds
  # Not as options: they may hold a password, and command lines are for all to see.
  export MLFLOW_BACKEND_STORE_URI=${ASTMOA_TRACKER_STORE:-sqlite:///$folder/mlflow.db}
  export MLFLOW_ARTIFACTS_DESTINATION=${ASTMOA_TRACKER_ARTIFACTS:-$folder/artifacts}
  # 4 workers take long to come up, and one is enough for a sweep, which sends in batches.
  MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true mlflow server \
    --host 127.0.0.1 --port "$port" --workers 1 --allowed-hosts "localhost:*,127.0.0.1:*" &
  silent=0
  while [ $silent -lt 5 ] && kill -0 $! 2>/dev/null; do
    sleep 2
    if answers "$ray_port"; then silent=0; else silent=$((silent + 1)); fi
  done
  trap : TERM
  kill -TERM 0 # the whole group: the server leaves children behind
  sleep 3
  kill -KILL 0
fi

# The one of an earlier ray up may have other settings, and its watcher may just be ending it.
old=$(cat "$folder/pid" 2>/dev/null || true)
for signal in TERM TERM TERM TERM TERM KILL KILL; do
  if [ -z "$old" ] || ! pgrep -g "$old" -f 'tracker.sh --watch|mlflow' >/dev/null; then break; fi
  kill "-$signal" -- "-$old" 2>/dev/null || true
  sleep 1
done
if answers "$port"; then
  echo "tracker.sh: port $port of $(hostname) is somebody else's: set ASTMOA_TRACKER_PORT in the cluster file" >&2
  exit 1
fi
setsid nohup bash "$0" --watch >"$folder/log" 2>&1 </dev/null &
echo $! >"$folder/pid"
for _ in $(seq 120); do
  if answers "$port"; then exit 0; fi
  kill -0 $! 2>/dev/null || break
  sleep 1
done
echo "tracker.sh: MLflow did not start on $(hostname): $(grep -v '^ *$' "$folder/log" | tail -n 1)" >&2
exit 1
