# A leader and a follower on 127.0.0.1, for the runners that source this: bash, with `set -euo pipefail`.
#
#     programs=...  port=...; . nodes.sh; start_nodes log.example/test
#
# Leaves $scratch (removed at the end), $leader, $follower and $operator, the operator's fingerprint. What
# was started ends with the script.
scratch=$(mktemp -d)
leader=http://127.0.0.1:$port
follower=http://127.0.0.1:$((port + 1))
children=()

finish() {
    local code=$? last
    # The youngest first: nothing is left behind by what it reads from.
    for ((last = ${#children[@]} - 1; last >= 0; last--)); do
        kill "${children[last]}" 2>/dev/null && wait "${children[last]}" 2>/dev/null || true
    done
    if [ "$code" -ne 0 ]; then find "$scratch" -maxdepth 1 -name '*.log' -size +0 -exec tail -v -n 5 {} + >&2; fi
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# background NAME COMMAND...: what it says goes to NAME.log.
background() {
    local name=$1
    shift
    "$@" >"$scratch/$name.log" 2>&1 &
    children+=("$!")
}

# await WHAT COMMAND...: until the command succeeds, for at most a minute.
await() {
    local what=$1 deadline=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ]; then
            echo "in vain was awaited: $what" >&2
            return 1
        fi
        sleep 0.3
    done
}

answers() { curl --silent --fail --output /dev/null --max-time 5 "$1"; }

# words ROLE COMMAND...: how a program of ours is called, with the $settings and nothing of this environment. Nothing is
# limited, and an endorsement counts from its acceptance on.
words() {
    words=(env -i RATE_LIMIT_LOG_READ=0 RATE_LIMIT_API_QUERY=0 RATE_LIMIT_KEY_REGISTRATION=0
        RATE_LIMIT_ATTESTATION_EVENT=0 RATE_LIMIT_ENDORSEMENT_OFFER=0 ENDORSEMENT_ACTIVATION_DELAY_SECONDS=0
        "${settings[@]}" "$programs/diogenes-$1" "${@:2}" --data-dir "$scratch/$1")
}

node() {
    words "$@"
    "${words[@]}"
}

start_node() {
    words "$@"
    background "$1" "${words[@]}"
}

# start_nodes ORIGIN
start_nodes() {
    settings=()
    node leader init --origin "$1" >/dev/null
    operator=$(node leader key fingerprint)
    start_node leader serve --listen "127.0.0.1:$port"
    await "the leader" answers "$leader/readyz"
    settings=("DIOGENES_FEDERATION_OPERATORS=[{\"url\":\"$leader\",\"fingerprint\":\"$operator\"}]")
    start_node follower serve --listen "127.0.0.1:$((port + 1))"
    await "the follower" answers "$follower/readyz"
}

entries() { curl --silent --fail "$1/api/v1/log/sth" | grep -o '"tree_size":[0-9]*' | cut -d : -f 2; }
has_caught_up() { [ "$(entries "$follower")" -ge "$(entries "$leader")" ]; }

# settle: waits until the follower has what the leader has.
settle() { await "the follower" has_caught_up; }
