#!/usr/bin/env bash
#
# Close Ray's ports on this machine to all but the cluster's own machines. Ray listens on every interface, and has no
# setting against that. `ray up` with on_prem.yaml calls it on every machine before Ray starts there.
#
#   bash ~/.astmoa/source/cluster/firewall.sh close    those of ~/.astmoa/machines alone may come in
#   bash ~/.astmoa/source/cluster/firewall.sh open     as if nothing had been
#   bash ~/.astmoa/source/cluster/firewall.sh list ~/ray_bootstrap_config.yaml    write ~/.astmoa/machines, on the head
#   bash ~/.astmoa/source/cluster/firewall.sh ports    the options of `ray start` that keep it to the ports closed here
#
# It is one table of nft's, with nothing about any other port, and gone when the machine starts anew. It takes root, or
# sudo without a password. Without that it says so, and the cluster's token is what keeps others out. Settings:
# ASTMOA_NETWORK=10.1.0.0/16,10.2.0.0/16 lets these in too (of machines with several addresses, only those that stand in
# the cluster file are known here), ASTMOA_FIREWALL=no closes nothing.
set -euo pipefail

machines=$HOME/.astmoa/machines
networks=${ASTMOA_NETWORK:-}
mark=/run/astmoa/firewall # of the machine's present life, as the table is: astmoa doctor looks for it
# Ray's own: its GCS, its client's server, metrics of the autoscaler and of the dashboard. The others are set by `ports`.
closed="6379, 10001, 44217, 44227, 23000-24999"
usage="usage: firewall.sh close | open | list CLUSTER_FILE | ports"

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

left_open() { # WHY FIX
  echo "firewall.sh on $(hostname): $1: Ray's ports ($closed) are open to whoever reaches this machine," \
    "and the token alone keeps others out; $2: sudo env HOME=$HOME bash $0 close" >&2
  exit 0
}

allowed() { # a rule for each that may come in
  local address
  for address in $(cat "$machines") ${networks//,/ }; do
    case $address in
      */* | *:*) echo "$address" ;;
      # A name that stands for nothing here goes to nft as it is, which says so.
      *) getent ahosts "$address" | awk '{ print $1 }' || echo "$address" ;;
    esac
  done | sort -u | while read -r address; do
    case $address in *:*) echo "tcp dport { $closed } ip6 saddr $address accept" ;;
    *) echo "tcp dport { $closed } ip saddr $address accept" ;; esac
  done
}

table() { # What begins a connection is judged, not what answers one of this machine's own.
  echo "table inet astmoa
    delete table inet astmoa
    table inet astmoa {
      chain input {
        type filter hook input priority filter; policy accept;
        iif lo accept
        tcp flags & (syn | ack) != syn accept
        $(allowed)
        tcp dport { $closed } counter reject with tcp reset
      }
    }"
}

open_again() { # also where nothing was closed
  as_root nft "add table inet astmoa; delete table inet astmoa"
  as_root rm -f "$mark"
}

case ${1:-} in
  ports)
    echo --node-manager-port=23000 --object-manager-port=23001 --runtime-env-agent-port=23002 \
      --dashboard-agent-grpc-port=23003 --dashboard-agent-listen-port=23004 --metrics-export-port=23005 \
      --min-worker-port=23010 --max-worker-port=24999
    ;;
  list)
    [ -f "${2:-}" ] || { echo "$usage; ${2:-no file} is not there" >&2; exit 2; }
    python - "$2" >"$machines" <<'END'
import sys, yaml

provider = yaml.safe_load(open(sys.argv[1]))["provider"]
print(*[provider["head_ip"], *provider["worker_ips"]], sep="\n")
END
    ;;
  close)
    if [ "${ASTMOA_FIREWALL:-}" = no ]; then # and what an earlier ray up has closed is not to stay so
      [ ! -e "$mark" ] || open_again
      exit 0
    fi
    [ -s "$machines" ] || left_open "$machines is not there" "let ray up write it, then"
    as_root true 2>/dev/null || left_open "sudo asks for a password" "to close them"
    as_root nft --version >/dev/null 2>&1 || as_root apt-get install --yes --quiet=2 nftables >/dev/null 2>&1 ||
      left_open "nft is not there" "install nftables, then"
    rules=$(table)
    told=$(as_root nft --file - <<<"$rules" 2>&1) ||
      left_open "nft refuses the rules ($(head -n 2 <<<"$told" | tr -s ' \n' ' '))" "look at $machines and ASTMOA_NETWORK, then"
    as_root mkdir -p "${mark%/*}"
    as_root tee "$mark" >/dev/null <<<"$rules"
    ;;
  open) open_again ;;
  *)
    echo "$usage" >&2
    exit 2
    ;;
esac
