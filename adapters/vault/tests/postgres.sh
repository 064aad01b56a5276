#!/bin/sh
# A PostgreSQL server for one test program: in a folder of its own, on a free port of loopback. Prints its address, obeys the
# lines `stop`, `crash` and `start` on its standard input (each answered with `ok`), and ends the server when that input ends,
# which it does however the test program dies. FSYNC=on makes its disk as slow as a real one's. TLS names a folder with server.crt
# and server.key, and makes it speak TLS.
set -eu

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$bin" ] || bin=$(dirname "$(command -v postgres)") || {
    echo "no PostgreSQL here: install the package postgresql, or run cargo xtask test postgres" >&2
    exit 1
}

home=$(mktemp -d)
pid=
end() {
    [ -z "$pid" ] || { kill -QUIT "$pid" 2>/dev/null && wait "$pid"; } || true
    rm -rf "$home"
}
trap end EXIT
trap 'exit 1' HUP INT TERM

# The server refuses to run as root.
as=
if [ "$(id -u)" = 0 ]; then
    chown postgres: "$home"
    as="setpriv --reuid=postgres --regid=postgres --init-groups"
fi

echo evergrant-test >"$home/password"
chmod 644 "$home/password"
$as "$bin/initdb" -D "$home/data" -U evergrant -A scram-sha-256 --pwfile="$home/password" -E UTF8 --locale=C --no-sync \
    >"$home/initdb.log" 2>&1 || { cat "$home/initdb.log" >&2; exit 1; }

ssl=off
if [ -n "${TLS:-}" ]; then
    ssl=on
    cp "$TLS/server.crt" "$TLS/server.key" "$home/data/"
    [ -z "$as" ] || chown postgres: "$home/data/server.crt" "$home/data/server.key"
    chmod 600 "$home/data/server.key"
fi

# Starts the server on $port and waits until it answers. Fails where the port is taken.
start() {
    # Not from this script's input: the tests speak through that.
    (cd "$home" && exec $as "$bin/postgres" -D "$home/data" -p "$port" -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories= -c max_connections=300 -c fsync="${FSYNC:-off}" -c shared_buffers=64MB -c ssl="$ssl" \
        -c log_min_messages=fatal) </dev/null >>"$home/server.log" 2>&1 &
    pid=$!
    tries=0
    while [ "$tries" -lt 600 ]; do
        kill -0 "$pid" 2>/dev/null || { pid=; return 1; }
        "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" && return 0
        tries=$((tries + 1))
        sleep 0.05
    done
    return 1
}

# Below the ports that the system gives out by itself.
draws=0
while :; do
    port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
    start && break
    draws=$((draws + 1))
    [ "$draws" -lt 20 ] || { cat "$home/server.log" >&2; exit 1; }
done
echo "postgres://evergrant:evergrant-test@127.0.0.1:$port/postgres"

while read -r verb; do
    case "$verb" in
    stop | crash)
        # Fast: sessions are ended, the log is written out. Immediate: as after a loss of power.
        if [ "$verb" = stop ]; then kill -INT "$pid"; else kill -QUIT "$pid"; fi
        wait "$pid" || true
        pid=
        ;;
    start) start ;;
    esac
    echo ok
done
