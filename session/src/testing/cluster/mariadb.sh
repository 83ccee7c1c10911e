# What is MariaDB's own of a throw-away server; read by cluster.sh, which says what the folder holds.
#
# DIR/galera, if it is there, makes the server a node of a Galera cluster: an option a line, which say where its nodes are. A node with
# DIR/bootstrap beside it begins the cluster, once; another one begins empty, and is sent the data by one that has them.

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

# The provider that makes servers nodes of a cluster, and what sends data from one to another.
find_galera() {
    command -v rsync >/dev/null || { echo "rsync was not found: install it (apt-get install rsync)" >&2; return 3; }
    for file in /usr/lib/galera*/libgalera_smm.so /usr/lib/*/galera*/libgalera_smm.so /usr/lib64/galera*/libgalera_smm.so; do
        [ ! -f "$file" ] || { printf '%s\n' "$file"; return 0; }
    done
    echo "Galera 4 (libgalera_smm.so) was not found in /usr/lib/galera*, /usr/lib/*/galera* or /usr/lib64/galera*. Install it \
(apt-get install galera-4 rsync, dnf install galera rsync); there is none for macOS." >&2
    return 3
}

create_mariadb() {
    if [ -f "$dir/galera" ] && [ ! -f "$dir/bootstrap" ]; then
        as_server mkdir "$server/data" && start
        return
    fi
    as_server "$(install_db "$bin")" --no-defaults --datadir="$server/data" --auth-root-authentication-method=normal \
        --skip-test-db --skip-name-resolve --innodb-log-file-size=16M --debug-no-sync </dev/null >"$dir/initdb.log" 2>&1 || return 1
    start
}

# Runs a command with the options of a node behind it, which stand one a line: those of the provider hold what the shell would split.
with_options() {
    options=$1
    shift
    while [ -n "$options" ]; do
        set -- "$@" "${options%%
*}"
        case "$options" in *'
'*) options=${options#*
} ;; *) options='' ;; esac
    done
    as_server "$@"
}

# Prints the options of a node. One that was killed says where it was, so that it is sent only what it has missed.
galera_options() {
    [ -f "$dir/galera" ] || return 0
    node=$(printf -- '--wsrep-provider=%s\n' "$(find_galera)"; cat "$dir/galera")
    printf '%s\n' "$node"
    if [ -f "$dir/bootstrap" ]; then
        rm -f "$dir/bootstrap"
        echo --wsrep-new-cluster
    elif [ -f "$server/data/grastate.dat" ]; then
        rm -f "$server/recovery.log"
        with_options "$node" "$(cat "$dir/bin")/mariadbd" --no-defaults --datadir="$server/data" --innodb-log-file-size=16M \
            --skip-networking --socket="$server/recovery.sock" --pid-file="$server/recovery.pid" \
            --log-error="$server/recovery.log" --tmpdir="$server" --wsrep-recover >&2 || return 1
        position=$(sed -n 's/.*Recovered position:[[:space:]]*//p' "$server/recovery.log" | tail -n 1)
        [ -z "$position" ] || printf -- '--wsrep-start-position=%s\n' "$position"
    fi
}

# A server that starts removes what is called a temporary table from its temporary folder, whoever's it is: so each has its own.
# Tests make and drop hundreds of tables: no system call waits for a disk, and all tables are in one file.
# One that lives for minutes needs to outlive its own process, and no more: a log that is written is enough. Lock waits are short, so
# that a test that waits for ever fails.
start_mariadb() {
    # Redirected before the function runs: around it, a shell would keep what its caller reads open for as long as the server lives.
    (
    exec </dev/null >>"$dir/pg_ctl.log" 2>&1 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-
    node=$(galera_options) || exit 1
    with_options "$node" "$(cat "$dir/bin")/mariadbd" --no-defaults --datadir="$server/data" --socket="$server/mysqld.sock" \
        --pid-file="$server/pid" --log-error="$server/log.err" --skip-networking --skip-name-resolve --skip-log-bin \
        --innodb-log-file-size=16M --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=2 \
        --innodb-flush-method=nosync --innodb-doublewrite=0 --innodb-use-native-aio=0 --innodb-lock-wait-timeout=20 \
        --character-set-server=utf8mb4 --max-connections=200 --performance-schema=0 --default-time-zone=+00:00 \
        --local-infile=0 --debug-no-sync --skip-sync-frm --innodb-file-per-table=0 --tmpdir="$server"
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

node_under_way() {
    for process in /proc/[0-9]*; do
        if tr '\0' '\n' 2>/dev/null <"$process/cmdline" | sed -n "2,\$p" | grep -qxF -- "--datadir=$server/data"; then
            printf '%s\n' "${process#/proc/}"
            return
        fi
    done
}

stop_mariadb() {
    if [ -s "$server/pid" ]; then
        pid=$(cat "$server/pid")
    elif [ -f "$dir/galera" ]; then
        # A node that is still being sent its data has written no number yet.
        pid=$(node_under_way)
    fi
    [ -n "${pid:-}" ] || return 0
    case "$1" in immediate) kill -KILL "$pid" 2>/dev/null ;; *) kill -TERM "$pid" 2>/dev/null ;; esac
    tries=0
    while mariadb_runs "$pid"; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || return 1
        sleep 0.1 3<&-
    done
    rm -f "$server/pid" "$server/mysqld.sock"
}
