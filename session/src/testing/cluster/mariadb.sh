# What is MariaDB's own of a throw-away server; read by cluster.sh, which says what the folder holds.

unset MYSQL_HOME MYSQL_TCP_PORT MYSQL_UNIX_PORT MYSQL_PWD MYSQL_GROUP_SUFFIX MARIADB_HOME

MARIADB_MINIMUM=10006

# 10.11 as 10011.
mariadb_version() {
    as_server "$1" --no-defaults --version 2>/dev/null |
        sed -n '1s/.*Ver \([0-9][0-9]*\)\.\([0-9][0-9]*\).*MariaDB.*/\1 \2/p' | while read -r major minor; do echo $((major * 1000 + minor)); done
}

# Prints the folder of mariadbd; the program that makes its data is beside it, or in PATH.
find_mariadb() {
    objections=''
    old_ifs=$IFS
    IFS='
'
    for folder in $(printf '%s\n' "$PATH" | tr ':' '\n') /usr/sbin /usr/libexec /usr/local/sbin /usr/local/bin \
        /opt/homebrew/opt/mariadb/bin /usr/local/opt/mariadb/bin /opt/local/lib/mariadb*/bin; do
        IFS=$old_ifs
        case "$folder" in /*) ;; *) continue ;; esac
        [ -x "$folder/mariadbd" ] || continue
        version=$(mariadb_version "$folder/mariadbd")
        if [ -z "$version" ]; then
            objections="$objections; $folder/mariadbd does not run, or is no MariaDB"
        elif [ "$version" -lt "$MARIADB_MINIMUM" ]; then
            objections="$objections; $folder/mariadbd is too old"
        elif [ -z "$(install_db "$folder")" ]; then
            objections="$objections; there is no mariadb-install-db for $folder/mariadbd"
        else
            printf '%s\n' "${folder%/}"
            return 0
        fi
    done
    IFS=$old_ifs
    echo "MariaDB 10.6 or newer (mariadbd, mariadb-install-db) was not found in PATH, /usr/sbin, /usr/libexec or \
Homebrew${objections}. Install it (apt-get install mariadb-server, dnf install mariadb-server, apk add mariadb, \
brew install mariadb), or set TEST_MYSQL_URL to a server of yours." >&2
    return 3
}

install_db() {
    for program in "$1/mariadb-install-db" "$1/../bin/mariadb-install-db" "$(command -v mariadb-install-db)" \
        "$1/../scripts/mariadb-install-db"; do
        [ -n "$program" ] && [ -x "$program" ] && { printf '%s\n' "$program"; return; }
    done
}

create_mariadb() {
    as_server "$(install_db "$bin")" --no-defaults --datadir="$server/data" --auth-root-authentication-method=normal \
        --skip-test-db --skip-name-resolve --innodb-log-file-size=16M </dev/null >"$dir/initdb.log" 2>&1 || return 1
    start
}

# A server that lives for minutes needs no durability. Lock waits are short, so that a test that waits for ever fails.
start_mariadb() {
    # Redirected before the function runs: around it, a shell would keep what its caller reads open for as long as the server lives.
    (
    exec </dev/null >>"$dir/pg_ctl.log" 2>&1 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-
    as_server "$(cat "$dir/bin")/mariadbd" --no-defaults --datadir="$server/data" --socket="$server/mysqld.sock" \
        --pid-file="$server/pid" --log-error="$server/log.err" --skip-networking --skip-name-resolve --skip-log-bin \
        --innodb-log-file-size=16M --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 \
        --innodb-flush-method=nosync --innodb-doublewrite=0 --innodb-use-native-aio=0 --innodb-lock-wait-timeout=20 \
        --character-set-server=utf8mb4 --max-connections=200 --performance-schema=0 --default-time-zone=+00:00 \
        --local-infile=0
    ) &
    # The socket is there when the server answers, its pid file a moment later.
    tries=0
    until [ -S "$server/mysqld.sock" ] && [ -s "$server/pid" ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] && kill -0 $! 2>/dev/null || return 1
        sleep 0.1 3<&-
    done
}

# Nobody may reap the dead server, whose number is then still there.
mariadb_runs() {
    kill -0 "$1" 2>/dev/null || return 1
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null || ps -o stat= -p "$1" 2>/dev/null)
    case "$state" in Z*) return 1 ;; esac
}

stop_mariadb() {
    [ -s "$server/pid" ] || return 0
    pid=$(cat "$server/pid")
    case "$1" in immediate) kill -KILL "$pid" 2>/dev/null ;; *) kill -TERM "$pid" 2>/dev/null ;; esac
    tries=0
    while mariadb_runs "$pid"; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || return 1
        sleep 0.1 3<&-
    done
    rm -f "$server/pid" "$server/mysqld.sock"
}
