#!/bin/sh
# A throw-away server (PostgreSQL, MariaDB, or a node of a Galera cluster) in one folder, and the watcher that removes it.
#
#   cluster.sh find [ENGINE]            prints the folder of usable programs, or says what was looked for
#   cluster.sh launch DIR GRACE [LINK]  makes the lease DIR/lease, starts the watcher in the background and returns
#   cluster.sh restart DIR MODE         stops the server (fast or immediate) and starts it on the same data
#   cluster.sh stop DIR MODE            stops the server, whose folder stays
#   cluster.sh start DIR                starts it again
#   cluster.sh remove DIR               stops the server and deletes the folder (for a cluster whose watcher is dead)
#
# DIR/primary, if it is there, holds the folder of another cluster's socket: the server is then a streaming replica of that.
# ENGINE is postgres (if nothing is said), mariadb, or galera (to be found only); a folder's stands in DIR/engine. What is MariaDB's
# own is in mariadb.sh, beside this file, with what DIR/galera and DIR/bootstrap mean.
#
# DIR/lease is a named pipe. Whoever uses the cluster holds it open for writing; the kernel closes it when the
# process ends, however it ends. The watcher reads: end of file means that nobody is left. GRACE seconds later, if
# nobody came, it closes the gate (DIR/open), stops the server and deletes the folder. It must never look at, signal
# or delete anything outside DIR, but for LINK, and that only while it points to DIR.
#
# POSIX sh, and nothing that a bare Linux or macOS does not have. Files in DIR: open (the gate), ready, failed (the
# reason), and server/ (owned by the user that the server runs as): its data, its socket and its log.

set -u
unset PGDATA PGPORT PGHOST PGHOSTADDR PGUSER PGDATABASE PGPASSWORD PGOPTIONS PGSERVICE PGSSLMODE PGCLIENTENCODING

MINIMUM=15
PORT=5432

# --- which programs --------------------------------------------------------------------------------------------------

# Prints the candidate folders, best first, one a line.
candidates() {
    printf '%s\n' "$PATH" | tr ':' '\n'
    pg_config --bindir 2>/dev/null
    # Where package managers put it. Homebrew says where its prefix is; on macOS it has two that are always the same.
    brew=${HOMEBREW_PREFIX:-$(brew --prefix 2>/dev/null)}
    # Newest version first: sort by the number in the path, not by the text.
    for folder in /usr/lib/postgresql/*/bin /usr/lib64/postgresql*/bin /usr/pgsql-*/bin /usr/libexec/postgresql*/ \
        /usr/local/pgsql/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin /opt/homebrew/bin \
        "$brew"/opt/postgresql*/bin /opt/local/lib/postgresql*/bin \
        /Applications/Postgres.app/Contents/Versions/*/bin; do
        [ -d "$folder" ] && printf '%s %s\n' "$(printf '%s' "$folder" | sed 's/[^0-9]*\([0-9]*\).*/\1/')" "$folder"
    done | sort -rn | sed 's/^[0-9]* //'
}

# The major version that a program reports, or nothing if it does not run for the user that the server runs as.
major() { as_server "$1" --version 2>/dev/null | sed -n '1s/^[^0-9]*\([0-9][0-9]*\).*/\1/p'; }

# Prints why a folder cannot be used; prints nothing if it can, or if there is no PostgreSQL in it at all.
objection() {
    [ -x "$1/postgres" ] || [ -x "$1/initdb" ] || return 0
    for program in postgres initdb pg_ctl; do
        [ -x "$1/$program" ] || { echo "$1 has no $program"; return; }
        version=$(major "$1/$program")
        [ -n "$version" ] || { echo "$1/$program does not run"; return; }
        [ "$version" -ge "$MINIMUM" ] || { echo "$1/$program is version $version, at least $MINIMUM is needed"; return; }
    done
}

find_programs() {
    case "$engine" in
    mariadb) find_mariadb; return ;;
    galera) find_mariadb >/dev/null && find_galera; return ;;
    esac
    objections=''
    old_ifs=$IFS
    IFS='
'
    for folder in $(candidates); do
        IFS=$old_ifs
        # Relative folders of PATH would mean another place after the change of directory.
        case "$folder" in /*) ;; *) continue ;; esac
        why=$(objection "$folder")
        if [ -n "$why" ]; then
            objections="$objections; $why"
        elif [ -x "$folder/postgres" ]; then
            printf '%s\n' "${folder%/}"
            return 0
        fi
    done
    IFS=$old_ifs
    echo "PostgreSQL $MINIMUM or newer (initdb, postgres, pg_ctl) was not found in PATH, pg_config --bindir, \
/usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, /usr/libexec/postgresql*, Homebrew or Postgres.app${objections}. \
Install it (apt-get install postgresql, dnf install postgresql-server, apk add postgresql, brew install postgresql@17), \
or set TEST_POSTGRES_URL to a server of yours." >&2
    return 3
}

# --- as whom ---------------------------------------------------------------------------------------------------------

# Neither server runs as root: then an unprivileged user runs it.
server_user() {
    [ "$(id -u)" = 0 ] || { id -un; return; }
    case "$engine" in mariadb) users='mysql _mysql nobody' ;; *) users='postgres _postgres nobody' ;; esac
    for user in $users; do
        id -u "$user" >/dev/null 2>&1 && { echo "$user"; return; }
    done
    echo nobody
}

quoted() { for word in "$@"; do printf "'%s' " "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")"; done; }

as_server() {
    [ "$(id -u)" = 0 ] || { "$@"; return; }
    user=$(server_user)
    # Each of these is missing somewhere, or knows other options there; the first that works is taken.
    if setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups true >/dev/null 2>&1; then
        setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups "$@"
    elif runuser -u "$user" -- true >/dev/null 2>&1; then
        runuser -u "$user" -- "$@"
    elif sudo -n -u "$user" true >/dev/null 2>&1; then
        sudo -n -u "$user" "$@"
    else
        su -s /bin/sh "$user" -c "$(quoted "$@")"
    fi
}

# --- the server ------------------------------------------------------------------------------------------------------

create() {
    bin=$(find_programs 2>"$dir/failed.new") || return 1
    printf '%s\n' "$bin" >"$dir/bin"
    mkdir -m 700 "$server" || return 1
    # The server's user owns its own folder only: the rest holds what root runs.
    [ "$(id -u)" != 0 ] || { chmod 711 "$dir" && chown "$(server_user)" "$server"; } || return 1
    [ "$engine" = postgres ] || { create_mariadb; return; }
    [ ! -f "$dir/primary" ] || { create_replica; return; }
    as_server "$bin/initdb" -D "$server/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 || return 1
    # A cluster that lives for minutes needs no durability; mmap keeps shared memory inside the folder. Replicas that come and go
    # end a segment of the log each, and those of others must still be there.
    as_server tee -a "$server/data/postgresql.conf" >/dev/null <<CONF || return 1
listen_addresses = ''
port = $PORT
unix_socket_directories = '$server'
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum_naptime = '10s'
shared_buffers = '64MB'
dynamic_shared_memory_type = mmap
max_connections = 200
max_prepared_transactions = 20
max_wal_senders = 40
wal_keep_size = '512MB'
log_min_messages = warning
timezone = 'UTC'
log_timezone = 'UTC'
CONF
    start
}

# Where a program is that a server can do without: beside the server's, or beside what that is a link to, or elsewhere.
beside_server() {
    real=$(readlink -f "$bin/postgres" 2>/dev/null || echo "$bin/postgres")
    for folder in "$bin" "${real%/*}" $(candidates); do
        [ ! -x "$folder/$1" ] || { printf '%s\n' "$folder/$1"; return 0; }
    done
    echo "$1 was not found beside the server in $bin" >"$dir/failed.new"
    return 1
}

# A copy of the primary that goes on replaying what the primary writes; a loss of either is noticed, and got over, at once.
create_replica() {
    basebackup=$(beside_server pg_basebackup) || return 1
    as_server "$basebackup" -h "$(cat "$dir/primary")" -p $PORT -U postgres -D "$server/data" -X stream -c fast -R --no-sync \
        >"$dir/initdb.log" 2>&1 || return 1
    as_server tee -a "$server/data/postgresql.conf" >/dev/null <<CONF || return 1
unix_socket_directories = '$server'
wal_retrieve_retry_interval = '50ms'
wal_receiver_status_interval = '1s'
CONF
    start
}

# The server must not inherit an end of the lease: held open by it, the lease would never end.
start() {
    [ "$engine" = postgres ] || { start_mariadb; return; }
    as_server "$(cat "$dir/bin")/pg_ctl" -D "$server/data" -l "$server/log" -w -t 60 -s start </dev/null >>"$dir/pg_ctl.log" 2>&1 \
        3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-
}

# pg_ctl waits until the pid file is gone, which also holds where nobody reaps the dead server.
stop() {
    [ "$engine" = postgres ] || { stop_mariadb "$1"; return; }
    [ -f "$server/data/postmaster.pid" ] || return 0
    as_server "$(cat "$dir/bin")/pg_ctl" -D "$server/data" -m "$1" -w -t 20 -s stop </dev/null >>"$dir/pg_ctl.log" 2>&1
}

# --- the watcher -----------------------------------------------------------------------------------------------------

end() {
    trap '' EXIT TERM
    [ -z "$link" ] || [ "$(readlink "$link")" != "$dir" ] || rm -f "$link"
    # Only a folder that `launch` made is deleted; whatever else was named stays.
    [ -p "$dir/lease" ] || exit 0
    stop immediate
    cd / && rm -rf "$dir"
    exit 0
}

# Returns when the last holder is gone; false if nobody came since the last call. The shell reads by itself: a child
# that reads would keep the lease's other end open after the watcher was killed, and the dead would look alive.
await_leave() {
    came=1
    while IFS= read -r _ <&3; do came=0; done
    return $came
}

# The one who launched says "go" once the cluster is its own to start, "leave" if another one was first, or was killed.
# Any other word is of one who found the link already: the cluster is to start, even if "go" comes later or never.
await_go() {
    tries=0
    until IFS= read -r word <&3; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || return 1
        sleep 0.1 3<&-
    done
    [ "$word" != leave ]
}

watch() {
    cd "$dir" || exit 1
    # The terminal's signals are for the tests; the watcher outlives them to clean up.
    trap '' INT HUP QUIT
    trap end EXIT
    trap exit TERM
    # Opening for reading waits for a writer, and one that was killed never comes: be the writer for that moment.
    exec 4<>"$dir/lease" 3<"$dir/lease" 4>&-
    await_go || exit 0
    if create; then
        : >"$dir/ready"
    else
        { cat "$dir/failed.new" 2>/dev/null; tail -n 20 "$dir/initdb.log" "$dir/pg_ctl.log" "$server/log" "$server/log.err" 2>/dev/null; } >"$dir/reason"
        mv "$dir/reason" "$dir/failed"
        rm -f "$dir/open"
        [ -z "$link" ] || [ "$(readlink "$link")" != "$dir" ] || rm -f "$link"
    fi
    await_leave || :
    # Each holder writes a line when it comes: what is read after the pause says whether anybody came.
    while sleep "$grace" 3<&- && await_leave; do :; done
    rm -f "$dir/open"
    await_leave # whoever came before the gate was closed
    exit 0
}

launch() {
    mkfifo -m 600 "$dir/lease" && : >"$dir/open" || return 1
    # A session of its own where that can be had, else (macOS) a process group of its own.
    if command -v setsid >/dev/null 2>&1; then
        setsid sh "$0" watch "$dir" "$grace" "$link" </dev/null >/dev/null 2>&1 &
    else
        set -m
        sh "$0" watch "$dir" "$grace" "$link" </dev/null >/dev/null 2>&1 &
    fi
}

command=${1:-}
dir=${2:-}
server=$dir/server
link=''
case "$command" in
find) engine=${2:-postgres} ;;
*) engine=$(cat "$dir/engine" 2>/dev/null || echo postgres) ;;
esac
here=$(dirname "$0")
[ "$engine" = postgres ] || . "$here/mariadb.sh"
case "$command" in
find) cd / && find_programs ;;
launch) grace=$3 link=${4:-}; launch ;;
watch) grace=$3 link=${4:-}; watch ;;
restart) cd "$dir" && stop "$3" && start ;;
stop) cd "$dir" && stop "$3" ;;
start) cd "$dir" && start ;;
remove) cd / && end ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
