# ---- The rest is the same for every server. ----
#
# It starts each engine as one step of the job, waits until every rank answers, starts the router, and watches all of them.
# Lines that begin with "dsr1:" say what happens; `dsr1` reads them, and so can you.

set -uo pipefail

say() { printf 'dsr1: %s %s\n' "$(date -u +%FT%TZ)" "$*"; }

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  say "failed bash $BASH_VERSION of node ${SLURMD_NODENAME:-0} is too old: this job needs 4.4"
  exit 1
fi

folder=${DSR1_FOLDER:-$SLURM_SUBMIT_DIR}/$name-$SLURM_JOB_ID
mkdir -p "$folder" || exit 1

# The nodes by name and by IPv4 address, the steps by the process that waits for each of them, and the ranks, each as one
# line: its engine, its number, its node, the address and the port of its health.
nodes=()
addresses=()
declare -A step_of=()
ranks=()

# start_step NAME FIRST COUNT OPTION... -- COMMAND...: starts a step on COUNT nodes from node FIRST on.
#
# A step shares the processors, the memory and the GPUs of its nodes with the others: `--overlap` alone does not say so of
# memory in every version. With `--export=ALL` a job that was submitted with `--export=NONE` passes the variables on, too.
start_step() {
  local step=$1 first=$2 count=$3 list options=()
  shift 3
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  shift
  list=$(IFS=,; echo "${nodes[*]:first:count}")
  srun --overlap --mem=0 --export=ALL --nodes="$count" --ntasks="$count" --ntasks-per-node=1 --nodelist="$list" \
    --cpu-bind=none --kill-on-bad-exit=1 --job-name="$step" --output="$folder/$step.%t.log" "${options[@]}" \
    "$@" < /dev/null 2> "$folder/$step.srun.log" &
  step_of[$!]=$step
}

# engine NAME ROLE FIRST COUNT POSITION HTTP NCCL BOOTSTRAP RENDEZVOUS: starts the ranks of one engine. The last four are its
# ports, and POSITION is its place among the engines of one node.
engine() {
  local engine=$1 role=$2 first=$3 count=$4 http=$6 rank
  DSR1_ENGINE=$engine DSR1_POSITION=$5 DSR1_HTTP=$6 DSR1_NCCL=$7 DSR1_BOOTSTRAP=$8 DSR1_RENDEZVOUS=$9 \
    DSR1_NAMES="${nodes[*]:first:count}" DSR1_ADDRESSES="${addresses[*]:first:count}" \
    start_step "$engine" "$first" "$count" "${engine_options[@]}" -- "${inside[@]}" bash -c "$prologue
$("program_$role")"
  for ((rank = 0; rank < count; rank++)); do
    ranks+=("$engine $rank ${nodes[first + rank]} ${addresses[first + rank]} $http")
  done
}

# What each rank does first: it finds its place, refuses a port that another program has, whose answers would be taken for
# its own, and looks after processes that somebody stops.
# shellcheck disable=SC2016 # The shell of the rank replaces the variables.
prologue='
names=($DSR1_NAMES) addresses=($DSR1_ADDRESSES) rank=
for i in "${!names[@]}"; do
  [ "${names[i]}" != "$SLURMD_NODENAME" ] || rank=$i
done
if [ -z "$rank" ]; then
  echo "dsr1: node $SLURMD_NODENAME is none of $DSR1_NAMES"
  exit 1
fi
own=${addresses[rank]} leader=${addresses[0]}
echo "dsr1: rank $DSR1_ENGINE.$rank on $SLURMD_NODENAME at $own"
ports=$DSR1_HTTP
case $DSR1_ENGINE.$rank in prefill-*.0) ports="$ports $DSR1_BOOTSTRAP" ;; esac
if [ "$rank" = 0 ]; then
  for i in 0 1 2 3 4 5 6 13; do ports="$ports $((DSR1_RENDEZVOUS + i))"; done
fi
for port in $ports; do
  if (exec 3<> "/dev/tcp/$own/$port") 2> /dev/null; then
    echo "dsr1: port $port at $own is taken by another program"
    exit 1
  fi
done
(
  stopped=
  tree() { local child; for child in $(cat /proc/$1/task/*/children 2> /dev/null); do echo $child; tree $child; done; }
  while sleep 2 && [ -d /proc/$$ ]; do
    now=
    for process in $$ $(tree $$); do
      read -r line < /proc/$process/stat || continue
      line=${line##*) }
      case ${line%% *} in T) now="$now $process" ;; esac
    done 2> /dev/null
    [ "$now" = "$stopped" ] || echo "dsr1: processes of $DSR1_ENGINE.$rank that are stopped:${now:- none}"
    stopped=$now
  done
) &'

# answer ADDRESS PORT PATH: prints an answer with code 200, and fails without one after 3 seconds. PATH `-` only connects.
answer() {
  # shellcheck disable=SC2016 # The arguments are those of the inner shell.
  timeout 3 bash -c '
    exec 3<> "/dev/tcp/$0/$1" || exit 1
    [ "$2" != - ] || exit 0
    printf "GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n" "$2" "$0" >&3
    IFS= read -r line <&3
    case $line in *" 200 "*) cat <&3 ;; *) exit 1 ;; esac' "$@" 2> /dev/null
}

# answering FIRST RANK...: prints the ranks that answer. It asks all of them at the same time, so that one that hangs does not
# hide what happens to the others. FIRST is the path for the first rank of an engine.
answering() {
  local path first=$1 line engine rank node address http
  shift
  for line; do
    read -r engine rank node address http <<< "$line"
    path=/health
    [ "$rank" != 0 ] || path=$first
    { ! answer "$address" "$http" "$path" > /dev/null || echo "$line"; } &
  done
  wait
}

# find_healthy FIRST RANK...: sets `healthy` to the ranks that answer, and watches the steps meanwhile.
find_healthy() {
  local asking
  answering "$@" > "$folder/healthy" &
  asking=$!
  watch 1
  while kill -0 "$asking" 2> /dev/null; do
    watch 0.2
  done
  mapfile -t healthy < "$folder/healthy"
}

# Prints which rank of step $1 ended first, as srun says it; fails while none has. srun then kills the others, and its own code
# is that of one of them.
culprit() {
  local line log=$folder/$1.srun.log
  [ -s "$log" ] || return 1
  line=$(sed -n -e 's/^srun: error: \([^:]*\): tasks\{0,1\} \([^:]*\): \(.*\)/rank \2 on node \1: \3/p' \
    -e 's/^srun: error: Node failure on \(.*\)/node \1 failed/p' "$log")
  [ -n "$line" ] && echo "${line%%$'\n'*}"
}

# fail STEP WHAT: says that a step failed, with the end of its log, and ends the job.
fail() {
  local step=$1 log=$folder/$1.srun.log
  shift
  say "failed $step $*"
  if [[ $* =~ ^rank\ ([0-9]+) ]] && [ -s "$folder/$step.${BASH_REMATCH[1]}.log" ]; then
    log=$folder/$step.${BASH_REMATCH[1]}.log
  fi
  say "log $log"
  tail -n 20 "$log" | sed 's/^/    | /'
  stop 1
}

# Prints a rank whose log says that its processes are stopped. Only the ends of the logs are read: they grow for days.
stopped_rank() {
  local line engine rank node address http stopped
  stopped=$(tail -q -c 20000 "$folder"/*.[0-9]*.log 2> /dev/null | awk '
    /^dsr1: processes of / { last[$4] = $0 }
    END { for (one in last) if (last[one] !~ /: none$/) printf " %s ", one }')
  [ -n "$stopped" ] || return 1
  for line in "${ranks[@]}"; do
    read -r engine rank node address http <<< "$line"
    if [[ $stopped = *" $engine.$rank "* ]]; then
      echo "$engine rank $rank on node $node: its processes are stopped"
      return 0
    fi
  done
  return 1
}

# The seconds since any rank wrote to its log.
silence() {
  local newest
  newest=$(stat -c %Y "$folder"/*.log 2> /dev/null | sort -n | tail -n 1)
  echo $(($(date +%s) - ${newest:-0}))
}

# Waits $1 seconds. `wait` and not `sleep` alone: a signal interrupts it.
pause() {
  sleep "$1" &
  wait $!
}

# Waits $1 seconds, and ends the job if a step has ended, or one of its ranks, or if a rank is stopped.
watch() {
  local process code who
  pause "$1"
  for process in "${!step_of[@]}"; do
    if who=$(culprit "${step_of[$process]}"); then
      fail "${step_of[$process]}" "$who"
    fi
    if ! kill -0 "$process" 2> /dev/null; then
      wait "$process"
      code=$?
      # What srun prints about the first death can come after its end.
      sleep 0.2
      fail "${step_of[$process]}" "$(culprit "${step_of[$process]}" || echo "ended with code $code")"
    fi
  done
  if who=$(stopped_rank); then
    # shellcheck disable=SC2086 # The first word is the step.
    fail $who
  fi
}

# Succeeds while a step runs.
is_running() {
  local process
  for process in "${!step_of[@]}"; do
    kill -0 "$process" 2> /dev/null && return 0
  done
  return 1
}

# Stops the steps, and ends the job with code $1. Engines that serve get 10 seconds for the running requests; after a failure
# nothing is left to wait for.
stop() {
  local waited=0 lost
  trap '' TERM INT
  say "stopping"
  rm -f "$folder/endpoint"
  if [ "$1" = 0 ] && is_running; then
    # A KILL would end the whole job.
    scancel --signal=TERM "$SLURM_JOB_ID" 2> /dev/null
    while is_running && ((waited++ < 50)); do
      sleep 0.2
    done
  fi
  if is_running; then
    # At a TERM srun kills its step.
    kill -TERM "${!step_of[@]}" 2> /dev/null
    wait "${!step_of[@]}" 2> /dev/null
  fi
  # Slurm ends a job that loses a node as if somebody had asked for it.
  lost=$(sed -n 's/^srun: error: Node failure on //p' "$folder"/*.srun.log 2> /dev/null | sort -u)
  [ -z "$lost" ] || say "failed node ${lost//$'\n'/, } is down"
  say "stopped"
  exit "$1"
}
trap 'stop 0' TERM INT

# Finds the address of each node: NCCL and Gloo do not use a name that resolves to IPv6 alone.
find_addresses() {
  local node address
  local -A by_node=()
  if [ -n "$interface" ]; then
    # shellcheck disable=SC2016 # The shell of the step replaces the variables.
    start_step addresses 0 "$node_count" -- bash -c \
      'ip -4 -o addr show dev "$1" | { read -r _ _ _ found _; echo "dsr1: $SLURMD_NODENAME ${found%%/*}"; }' _ "$interface"
    wait $!
    unset "step_of[$!]"
    while read -r _ node address; do
      by_node[$node]=$address
    done < <(grep -h '^dsr1: ' "$folder"/addresses.*.log)
  fi
  for node in "${nodes[@]}"; do
    if [ -n "$interface" ]; then
      address=${by_node[$node]:-}
    else
      address=$(scontrol -o show node "$node" | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
      case $address in
        *[!0-9.]* | '') address=$(getent ahostsv4 "${address:-$node}" | awk 'NR == 1 { print $1 }') ;;
      esac
    fi
    if [ -z "$address" ]; then
      say "failed node $node has no IPv4 address${interface:+ on interface $interface}"
      stop 1
    fi
    addresses+=("$address")
    say "node $node $address"
  done
}

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
if [ "${#nodes[@]}" -ne "$node_count" ]; then
  say "failed the job has ${#nodes[@]} nodes, and the server needs $node_count"
  stop 1
fi
say "folder $folder"
find_addresses
own=${addresses[0]}
if [ "$router_engines" -gt 0 ]; then
  for taken in "$port" $((port + 1)); do
    if (exec 3<> "/dev/tcp/$own/$taken") 2> /dev/null; then
      say "failed port $taken at $own, on node ${nodes[0]}, is taken by another program"
      stop 1
    fi
  done
fi
# The router and the engines ask each other, and a proxy answers 403 (sglang#9155).
NO_PROXY=127.0.0.1,localhost,$(IFS=,; echo "${addresses[*]}")
export NO_PROXY no_proxy=$NO_PROXY
engines

waiting=("${ranks[@]}")
ready=0
while [ "${#waiting[@]}" -gt 0 ]; do
  find_healthy /health "${waiting[@]}"
  still=()
  for line in "${waiting[@]}"; do
    read -r engine rank node address http <<< "$line"
    is_ready=
    for one in "${healthy[@]}"; do
      [ "$one" != "$line" ] || is_ready=1
    done
    [ -n "$is_ready" ] || still+=("$line")
  done
  for line in "${healthy[@]}"; do
    read -r engine rank node address http <<< "$line"
    say "ready $engine rank $rank on node $node, $((ready += 1)) of ${#ranks[@]}"
  done
  waiting=("${still[@]}")
  if [ "${#waiting[@]}" -gt 0 ] && [ "$(silence)" -gt "$stall_s" ]; then
    for line in "${waiting[@]}"; do
      read -r engine rank node address http <<< "$line"
      say "failed $engine rank $rank on node $node: it is not ready, and no log has a new line for $stall_s s"
      say "log $folder/$engine.$rank.log"
    done
    stop 1
  fi
done
# The first rank of each engine answers only if all of its ranks compute.
for line in "${ranks[@]}"; do
  read -r engine rank node address http <<< "$line"
  [ "$rank" = 0 ] || continue
  begun=$SECONDS
  until answer "$address" "$http" /health_generate > /dev/null; do
    watch 1
    if ((SECONDS - begun > stall_s)); then
      fail "$engine" "rank 0 on node $node: it generates nothing for $stall_s s"
    fi
  done
  say "generates $engine"
done

if [ "$router_engines" -gt 0 ]; then
  router
  begun=$SECONDS
  # It answers with code 200 as soon as some of its engines are healthy.
  until [[ $(answer "$own" "$port" /readiness) =~ \"healthy_workers\":\ ?${router_engines}[^0-9] ]]; do
    watch 1
    if ((SECONDS - begun > stall_s)); then
      fail router "rank 0 on node ${nodes[0]}: its $router_engines engines are not healthy for $stall_s s"
    fi
  done
  say "router ready"
fi
echo "http://$own:$port" > "$folder/endpoint"
say "serving http://$own:$port"

missed=
told=
while :; do
  for ((i = 0; i < 4; i++)); do
    watch 1
  done
  # The health of a first rank costs a token, and is late under load: it is only connected to.
  find_healthy - "${ranks[@]}"
  now=
  for line in "${ranks[@]}"; do
    is_healthy=
    for one in "${healthy[@]}"; do
      [ "$one" != "$line" ] || is_healthy=1
    done
    if [ -z "$is_healthy" ]; then
      read -r engine rank node address http <<< "$line"
      now="$now $engine.$rank"
      # One answer that is late means nothing.
      if [[ "$missed " = *" $engine.$rank "* ]] && [[ "$told " != *" $engine.$rank "* ]]; then
        say "silent $engine rank $rank on node $node"
        told="$told $engine.$rank"
      fi
    fi
  done
  missed=$now
done
