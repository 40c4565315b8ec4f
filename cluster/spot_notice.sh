#!/usr/bin/env bash
#
# Watch for AWS's notice that this spot machine is about to be taken away (two minutes before). Then nothing new is
# started here, and every trial saves what it has trained, in the middle of its epoch, and goes on elsewhere.
#
#   bash ~/.astmoa/source/cluster/spot_notice.sh      called by `ray up` on every worker; it watches in the background
set -uo pipefail

metadata=${ASTMOA_METADATA:-http://169.254.169.254}/latest
folder=$HOME/.astmoa

if [ "${1:-}" != --watch ]; then
  mkdir -p "$folder"
  old=$(cat "$folder/spot.pid" 2>/dev/null || true) # of an earlier ray up; the number may be another program's by now
  if [ -n "$old" ] && grep -qs spot_notice "/proc/$old/cmdline"; then kill -- "-$old" 2>/dev/null; fi
  setsid nohup bash "$0" --watch >"$folder/spot.log" 2>&1 </dev/null &
  echo $! >"$folder/spot.pid"
  exit 0
fi

while sleep "${ASTMOA_METADATA_EVERY:-5}"; do
  pgrep -f 'raylet/raylet' >/dev/null || exit 0 # Ray is gone
  token=$(curl -fsS -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/api/token" 2>/dev/null) || continue
  # From stdin: command lines are for all to see.
  curl -fsS -m 2 -H @- "$metadata/meta-data/spot/instance-action" 2>/dev/null <<<"X-aws-ec2-metadata-token: $token" ||
    continue
  echo
  echo "this machine is to be taken away: draining it"
  node=$(python -c 'import ray; ray.init(log_to_driver=False); print(ray.get_runtime_context().get_node_id())' 2>/dev/null)
  ray drain-node --address="$RAY_HEAD_IP:6379" --node-id="$node" --reason=DRAIN_NODE_REASON_PREEMPTION \
    --reason-message="spot notice" --deadline-remaining-seconds=110
  pkill -TERM -f '^ray::(ResourceTrainable|TrialWorker)' # what Ray calls a worker in an epoch and between two
  exit 0
done
