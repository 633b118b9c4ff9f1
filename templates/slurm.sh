# ---- The rest is the same for every server. ----
#
# It starts each engine as one step of the job, waits until every rank answers, starts the router, and watches all of them.
# Lines that begin with "dsr1:" say what happens; `dsr1` reads them, and so can you.

set -uo pipefail

folder=${DSR1_FOLDER:-$SLURM_SUBMIT_DIR}/$name-$SLURM_JOB_ID
mkdir -p "$folder" || exit 1

say() { printf 'dsr1: %s %s\n' "$(date -u +%FT%TZ)" "$*"; }

# The names of the nodes, and an IPv4 address of each: NCCL and Gloo do not use a name that resolves to IPv6 alone.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
addresses=()
find_addresses() {
  local node address interface_of='ip -4 -o addr show dev "$1" | { read -r _ _ _ found _; echo "$SLURMD_NODENAME ${found%%/*}"; }'
  local -A by_node=()
  if [ -n "$interface" ]; then
    while read -r node address; do
      by_node[$node]=$address
    done < <(srun --overlap --nodes="$node_count" --ntasks-per-node=1 bash -c "$interface_of" _ "$interface")
  fi
  for node in "${nodes[@]}"; do
    if [ -n "$interface" ]; then
      address=${by_node[$node]:-}
      if [ -z "$address" ]; then
        say "failed node $node has no IPv4 address on interface $interface"
        exit 1
      fi
    else
      address=$(scontrol -o show node "$node" | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
      case $address in
        *[!0-9.]* | '') address=$(getent ahostsv4 "${address:-$node}" | awk 'NR == 1 { print $1 }') ;;
      esac
      if [ -z "$address" ]; then
        say "failed node $node has no IPv4 address"
        exit 1
      fi
    fi
    addresses+=("$address")
    say "node $node $address"
  done
}

# The steps by the process that waits for each of them, and the ranks that are to be watched.
declare -A step_of=()
ranks=()

# step NAME FIRST COUNT OPTION... -- COMMAND...: starts a step on COUNT nodes from node FIRST on.
step() {
  local step=$1 first=$2 count=$3 list options=()
  shift 3
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  shift
  list=$(IFS=,; echo "${nodes[*]:first:count}")
  srun --overlap --nodes="$count" --ntasks="$count" --ntasks-per-node=1 --nodelist="$list" --cpu-bind=none \
    --kill-on-bad-exit=1 --job-name="$step" --output="$folder/$step.%t.log" "${options[@]}" \
    "$@" 2> "$folder/$step.srun.log" &
  step_of[$!]=$step
}

# engine NAME ROLE FIRST COUNT POSITION HTTP NCCL BOOTSTRAP RENDEZVOUS: starts the ranks of one engine. The last four are its
# ports, and POSITION is its place among the engines of one node.
engine() {
  local engine=$1 role=$2 first=$3 count=$4 http=$6 rank
  DSR1_ENGINE=$engine DSR1_POSITION=$5 DSR1_HTTP=$6 DSR1_NCCL=$7 DSR1_BOOTSTRAP=$8 DSR1_RENDEZVOUS=$9 \
    DSR1_NAMES="${nodes[*]:first:count}" DSR1_ADDRESSES="${addresses[*]:first:count}" \
    step "$engine" "$first" "$count" "${engine_options[@]}" -- "${inside[@]}" bash -c "$prologue
$("program_$role")"
  for ((rank = 0; rank < count; rank++)); do
    ranks+=("$engine $rank ${nodes[first + rank]} ${addresses[first + rank]} $http")
  done
}

# What each rank does first: it finds its place, and looks after processes that somebody stops.
prologue='
names=($DSR1_NAMES) addresses=($DSR1_ADDRESSES) rank=0
for i in "${!names[@]}"; do
  [ "${names[i]}" = "$SLURMD_NODENAME" ] && rank=$i
done
own=${addresses[rank]} leader=${addresses[0]}
echo "dsr1: rank $DSR1_ENGINE.$rank on $SLURMD_NODENAME at $own"
(
  stopped=
  tree() { local child; for child in $(cat /proc/$1/task/*/children 2> /dev/null); do echo $child; tree $child; done; }
  while sleep 2 && [ -d /proc/$$ ]; do
    now=
    for process in $$ $(tree $$); do
      read -r line < /proc/$process/stat 2> /dev/null || continue
      line=${line##*) }
      case ${line%% *} in T) now="$now $process" ;; esac
    done
    [ "$now" = "$stopped" ] || echo "dsr1: processes of $DSR1_ENGINE.$rank that are stopped:${now:- none}"
    stopped=$now
  done
) &'

# probe ADDRESS PORT PATH: succeeds if the answer is 200.
probe() {
  timeout 5 bash -c '
    exec 3<> "/dev/tcp/$0/$1" || exit 1
    printf "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n" "$2" "$0" >&3
    IFS= read -r line <&3
    case $line in *" 200 "*) ;; *) exit 1 ;; esac' "$@" 2> /dev/null
}

# Prints which rank of step $1 ended first, as srun says it; fails while none has. srun then kills the others, and its own code
# is that of one of them.
culprit() {
  local line
  line=$(sed -n 's/^srun: error: \([^:]*\): tasks\{0,1\} \([^:]*\): \(.*\)/rank \2 on node \1: \3/p' "$folder/$1.srun.log" 2> /dev/null)
  [ -n "$line" ] && echo "${line%%$'\n'*}"
}

# The first rank whose log says that its processes are stopped.
stopped_rank() {
  local line engine rank node address http
  for line in "${ranks[@]}"; do
    read -r engine rank node address http <<< "$line"
    case $(grep -h '^dsr1: processes of ' "$folder/$engine.$rank.log" 2> /dev/null | tail -n 1) in
      '' | *': none') ;;
      *) echo "$engine $rank $node"; return 0 ;;
    esac
  done
  return 1
}

# The seconds since any rank wrote to its log.
silence() {
  local newest
  newest=$(stat -c %Y "$folder"/*.log 2> /dev/null | sort -n | tail -n 1)
  echo $(($(date +%s) - ${newest:-0}))
}

# Ends the job if a step has ended, or one of its ranks; $1 seconds are waited for that.
watch_steps() {
  local process code timer step who
  sleep "$1" &
  timer=$!
  wait -n -p process
  code=$?
  if [ "${process:-$timer}" != "$timer" ]; then
    kill "$timer" 2> /dev/null
    # What srun prints about the first death can come after its end.
    sleep 0.2
    step=${step_of[$process]}
    say "failed $step $(culprit "$step" || echo "ended with code $code")"
    stop 1
  fi
  for step in "${step_of[@]}"; do
    if who=$(culprit "$step"); then
      say "failed $step $who"
      stop 1
    fi
  done
}

# Stops the steps, the router first, and ends the job with code $1.
stop() {
  local process waited
  trap '' TERM INT
  say "stopping"
  for process in "${!step_of[@]}"; do
    kill -TERM "$process" 2> /dev/null
  done
  for ((waited = 0; waited < 30; waited++)); do
    [ -n "$(jobs -pr)" ] || break
    sleep 1
  done
  kill -KILL $(jobs -pr) 2> /dev/null
  wait
  rm -f "$folder/endpoint"
  say "stopped"
  exit "$1"
}
trap 'stop 0' TERM INT

if [ "${#nodes[@]}" -ne "$node_count" ]; then
  say "failed the job has ${#nodes[@]} nodes, and the server needs $node_count"
  exit 1
fi
say "folder $folder"
find_addresses
# The router and the engines ask each other, and a proxy answers 403 (sglang#9155).
NO_PROXY=127.0.0.1,localhost,$(IFS=,; echo "${addresses[*]}")
export NO_PROXY no_proxy=$NO_PROXY
engines

declare -A ready=()
while [ "${#ready[@]}" -lt "${#ranks[@]}" ]; do
  watch_steps 1
  for line in "${ranks[@]}"; do
    read -r engine rank node address http <<< "$line"
    if [ -z "${ready[$engine.$rank]:-}" ] && probe "$address" "$http" /health; then
      ready[$engine.$rank]=1
      say "ready $engine.$rank on $node, ${#ready[@]} of ${#ranks[@]}"
    fi
  done
  if [ "$(silence)" -gt "$stall_s" ]; then
    for line in "${ranks[@]}"; do
      read -r engine rank node address http <<< "$line"
      [ -n "${ready[$engine.$rank]:-}" ] || say "failed $engine rank $rank on node $node: no line in any log for $stall_s s"
    done
    stop 1
  fi
done
# The first rank of each engine answers only if all of its ranks compute.
for line in "${ranks[@]}"; do
  read -r engine rank node address http <<< "$line"
  [ "$rank" = 0 ] || continue
  until probe "$address" "$http" /health_generate; do
    watch_steps 1
    if [ "$(silence)" -gt "$stall_s" ]; then
      say "failed $engine rank 0 on node $node: it generates nothing"
      stop 1
    fi
  done
  say "generates $engine"
done

endpoint=http://${addresses[0]}:$port
if [ -n "$has_router" ]; then
  own=${addresses[0]}
  router
  until probe "$own" "$port" "$router_probe"; do
    watch_steps 1
  done
  say "router ready"
fi
echo "$endpoint" > "$folder/endpoint"
say "serving $endpoint"

missed=
while :; do
  watch_steps 2
  if who=$(stopped_rank); then
    read -r engine rank node <<< "$who"
    say "failed $engine rank $rank on node $node: its processes are stopped"
    stop 1
  fi
  for line in "${ranks[@]}"; do
    read -r engine rank node address http <<< "$line"
    if [ "$rank" != 0 ] && ! probe "$address" "$http" /health; then
      [ "$missed" != "$engine.$rank" ] || say "silent $engine rank $rank on node $node"
      missed=$engine.$rank
    elif [ "$missed" = "$engine.$rank" ]; then
      missed=
    fi
  done
done
