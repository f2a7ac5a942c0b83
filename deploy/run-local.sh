#!/usr/bin/env bash
#
# Runs the five services on this machine from the sample configurations, and holds the ceremony at the first start.
#
# What it does on one machine is what a deployment does on several: each service is a process of its own, with its own
# configuration file, state directory and ports. Only the root keys, which this script makes itself and leaves beside
# the data, belong elsewhere: offline, with people.
set -euo pipefail
# Where this script complains. The shell's own words about jobs that were killed go elsewhere, see `main`.
exec 3>&2

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
    cat <<USAGE
Usage: deploy/run-local.sh [--data DIR] [--bin-dir DIR] [--config-dir DIR] [--port-offset N]

  --data DIR         where everything is kept, default ./rstuf-local; the next start goes on where this one was
  --bin-dir DIR      where the binaries are, default ${bin_dir}
  --config-dir DIR   the configuration files, default ${config_dir}
  --port-offset N    is added to every port, default 0: gRPC 50051 to 50054, mirror 8080, admin 9101 to 9105

Build the binaries with \`cargo build --release --bins\`. Ctrl-C or SIGTERM stops everything. When one service ends, the
others are stopped, and so is this script.

Exit status: 0 when stopped, 1 when a service ended or is not ready in time, 2 for wrong arguments; the ceremony's own.
USAGE
}

data=rstuf-local
bin_dir=${CARGO_TARGET_DIR:-$repository/target}/release
config_dir=$repository/deploy/config
offset=0
# How long the services may take until they are ready, in seconds.
ready_within=60

services=(targets snapshot timestamp coordinator mirror)
declare -A port=([coordinator]=50051 [targets]=50052 [snapshot]=50053 [timestamp]=50054 [mirror]=8080)
declare -A admin=([coordinator]=9101 [targets]=9102 [snapshot]=9103 [timestamp]=9104 [mirror]=9105)
declare -A pid=()

fail() {
    echo "run-local.sh: $*" >&3
    exit 1
}

read_arguments() {
    while (($# > 0)); do
        case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        --data | --bin-dir | --config-dir | --port-offset)
            (($# >= 2)) || fail "$1 needs a value"
            case $1 in
            --data) data=$2 ;;
            --bin-dir) bin_dir=$2 ;;
            --config-dir) config_dir=$2 ;;
            --port-offset) offset=$2 ;;
            esac
            shift 2
            ;;
        *)
            usage >&2
            exit 2
            ;;
        esac
    done
    [[ $offset =~ ^[0-9]{1,5}$ ]] || fail "--port-offset $offset is not a number from 0 to 15481"
    offset=$((10#$offset))
    ((offset <= 15481)) || fail "--port-offset $offset is not a number from 0 to 15481"
}

check_tools() {
    command -v curl >/dev/null || fail "curl is needed to ask whether the services are ready"
    local name
    for name in rstuf "${services[@]/#/rstuf-}"; do
        [[ -x $bin_dir/$name ]] || fail "there is no $bin_dir/$name: build it with \`cargo build --release --bins\`," \
            "or name another directory, such as --bin-dir target/debug"
    done
}

url() {
    echo "http://127.0.0.1:$((port[$1] + offset))"
}

# Starts one service with its sample configuration; only what differs on this machine is said by flags.
start() {
    local service=$1 log=$data/logs/$1.log
    local flags=(--config "$config_dir/$service.toml"
        --listen "127.0.0.1:$((port[$service] + offset))" --admin-listen "127.0.0.1:$((admin[$service] + offset))")
    case $service in
    mirror)
        flags+=(--published-dir "$data/published" --artifacts-dir "$data/artifacts")
        ;;
    coordinator)
        flags+=(--state-dir "$data/$service" --published-dir "$data/published"
            --targets-signer "$(url targets)" --snapshot-signer "$(url snapshot)" --timestamp-signer "$(url timestamp)")
        ;;
    *)
        flags+=(--state-dir "$data/$service")
        # Once a root names its key, a signer whose directory is lost must not become a stranger silently.
        [[ -e $data/1.root.json ]] || flags+=(--create-key)
        ;;
    esac
    # With job control on, the service gets a process group of its own: a Ctrl-C reaches this script alone, which then
    # stops the services in order.
    set -m
    "$bin_dir/rstuf-$service" "${flags[@]}" >>"$log" 2>&1 3>&- &
    set +m
    pid[$service]=$!
}

running() {
    kill -0 "${pid[$1]}" 2>/dev/null
}

died() {
    local status=0 how
    wait "${pid[$1]}" || status=$?
    how="ended with exit code $status"
    ((status <= 128)) || how="was ended by signal $((status - 128)) (SIG$(kill -l "$status"))"
    echo "run-local.sh: rstuf-$1 $how, so all are stopped; the end of $data/logs/$1.log:" >&3
    tail -n 5 "$data/logs/$1.log" >&3
    exit 1
}

# Waits until the services named are ready.
wait_ready() {
    local service deadline=$((SECONDS + ready_within)) probe
    for service in "$@"; do
        probe=http://127.0.0.1:$((admin[$service] + offset))/readyz
        until curl --silent --fail --max-time 2 --output /dev/null "$probe"; do
            running "$service" || died "$service"
            ((SECONDS < deadline)) ||
                fail "rstuf-$service is not ready after $ready_within s; see $probe and $data/logs"
            sleep 0.05
        done
        # Somebody else may have answered on this port: ours would have ended then.
        running "$service" || died "$service"
    done
}

# The sample ceremony, with keys made here. What is done already is not done again.
hold_ceremony() {
    [[ ! -e $data/1.root.json ]] || return 0
    local config=$data/ceremony/ceremony.toml number
    mkdir -p "$data/ceremony"
    [[ -e $config ]] || cp "$config_dir/ceremony.toml" "$config"
    for number in 1 2 3; do
        local key=$data/ceremony/root-$number.pem
        [[ -e $key ]] || "$bin_dir/rstuf" key generate "$key" >/dev/null
    done
    "$bin_dir/rstuf" --server "$(url coordinator)" ceremony --yes --config "$config" \
        --work-dir "$data/ceremony/work" --root-out "$data/1.root.json"
}

# Stops in the order that lets each finish: the signers are needed until the coordinator is gone.
stop() {
    local code=$? index service failed=0
    trap '' HUP INT PIPE TERM
    trap - EXIT
    for ((index = ${#services[@]} - 1; index >= 0; index--)); do
        service=${services[index]}
        [[ -n ${pid[$service]:-} ]] || continue
        kill -TERM "${pid[$service]}" 2>/dev/null || true
        wait "${pid[$service]}" || failed=1
    done
    echo "stopped"
    ((code == 0)) || exit "$code"
    exit "$failed"
}

next_steps() {
    cat <<NEXT

The repository is running. Logs are in $data/logs.

  metadata     $(url mirror)/metadata/    clients start from $data/1.root.json
  submissions  $(url coordinator)
  root keys    $data/ceremony/root-*.pem    outside of a trial: made and kept offline

Add an artifact, and give its bytes to the mirror:

  export RSTUF_SERVER=$(url coordinator)
  $bin_dir/rstuf artifact add --artifacts-dir $data/artifacts $repository/README.md
  curl $(url mirror)/targets/README.md
  $bin_dir/rstuf status

Ctrl-C stops everything; the same command starts it again.
NEXT
}

main() {
    read_arguments "$@"
    check_tools
    mkdir -p "$data/logs" "$data/published" "$data/artifacts"
    data=$(cd "$data" && pwd)
    trap stop EXIT
    trap 'exit 0' INT TERM
    # The terminal is gone, or whoever read what is printed.
    trap 'exit 1' HUP PIPE
    local service
    for service in "${services[@]}"; do
        start "$service"
    done
    exec 2>/dev/null
    # The mirror has nothing to serve until the ceremony is over.
    wait_ready targets snapshot timestamp coordinator
    hold_ceremony 2>&3
    wait_ready mirror
    next_steps
    # None of them should end. `wait -n` would not tell of one that ended before it was called.
    while true; do
        for service in "${services[@]}"; do
            running "$service" || died "$service"
        done
        # In the background, so that a signal is heard at once.
        sleep 0.5 &
        wait $! || true
    done
}

main "$@"
