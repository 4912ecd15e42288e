# Sourced by scripts/run: a private PostgreSQL primary with one streaming replica, and pgproxy's
# configuration for them, all in the directory $demo. Both servers listen on 127.0.0.1 only.
# shellcheck shell=bash disable=SC2154

postgres_bin=/usr/lib/postgresql/15/bin

# As root everything is started as user postgres: neither PostgreSQL nor pgproxy runs as root.
become_postgres=()
((EUID != 0)) || become_postgres=(--reuid=postgres --regid=postgres --init-groups)

# Nothing that is started here inherits the lock of this demo (9).
as_server_user() {
  if ((EUID == 0)); then
    setpriv "${become_postgres[@]}" --reset-env -- "$@" 9>&-
  else
    "$@" 9>&-
  fi
}

default_demo_directory() {
  if ((EUID == 0)); then
    echo /var/lib/pgproxy-demo
  else
    echo "${XDG_STATE_HOME:-$HOME/.local/state}/pgproxy-demo"
  fi
}

# Makes $demo ours and keeps other runs out of it.
open_demo_directory() {
  local choose="Choose another directory: PGPROXY_DEMO_DIR=/some/directory scripts/run"
  [[ $demo =~ ^/[A-Za-z0-9/_.+@-]{1,80}$ ]] ||
    die "the demo directory must be an absolute path of up to 80 letters, digits and /_.+@-: $demo" "$choose"
  if [[ -d $demo && ! -e $demo/lock && -n $(ls -A "$demo") ]]; then
    die "$demo is in use for something else" "$choose"
  fi
  need_disk "$demo" 400
  if ((EUID == 0)); then
    install -d -m 700 -o postgres -g postgres "$demo"
  else
    install -d -m 700 "$demo" 2> /dev/null || true
  fi
  as_server_user test -w "$demo" ||
    die "$demo cannot be written by user $(as_server_user id -un)" "$choose"
  exec 9>> "$demo/lock"
  flock -n 9 || die "another scripts/run uses $demo" "Stop it with Ctrl-C, or: ${choose#*: }"
}

port_is_free() { ! (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

# free_port FIRST: the first free one from there on.
free_port() {
  local port
  for ((port = $1; port < $1 + 100; port++)); do
    if port_is_free "$port"; then echo "$port"; return; fi
  done
  die "no free port from $1 to $((port - 1)) on 127.0.0.1"
}

choose_ports() {
  primary_port=$(free_port 15432)
  replica_port=$(free_port $((primary_port + 1)))
  http_port=$(free_port 9127)
  if [[ -n ${PGPROXY_DEMO_PORT:-} ]]; then
    port_is_free "$PGPROXY_DEMO_PORT" ||
      die "port $PGPROXY_DEMO_PORT (PGPROXY_DEMO_PORT) is in use" "See who: ss -ltnp 'sport = :$PGPROXY_DEMO_PORT'"
    proxy_port=$PGPROXY_DEMO_PORT
  else
    proxy_port=$(free_port 6432)
    [[ $proxy_port == 6432 ]] || say "Port 6432 is in use (another pooler?): taking $proxy_port"
  fi
}

# write FILE: standard input, readable by its owner only.
write() { as_server_user sh -c 'umask 077; cat > "$1"' sh "$demo/$1"; }

write_passwords() {
  local name
  for name in app admin replicator pgproxy; do
    echo "127.0.0.1:*:*:$name:$(head -c 24 /dev/urandom | base64 | tr '+/' 'ab')"
  done | write pgpass
}

password_of() { awk -F: -v name="$1" '$4 == name { print $5 }' "$demo/pgpass"; }

write_server_configuration() { # primary|replica PORT
  write "$1/postgresql.conf" << END
# Written anew by scripts/run at each start.
listen_addresses = '127.0.0.1'
port = $2
unix_socket_directories = '$demo/sockets'
cluster_name = 'pgproxy demo $1'
password_encryption = 'scram-sha-256'
max_connections = 50
shared_buffers = 32MB
max_wal_size = 256MB
max_slot_wal_keep_size = 1GB
primary_conninfo = 'host=127.0.0.1 port=$primary_port user=replicator application_name=replica passfile=$demo/pgpass'
primary_slot_name = 'replica'
END
  write "$1/pg_hba.conf" << END
local all         all                      peer
host  all         all        127.0.0.1/32  scram-sha-256
host  replication replicator 127.0.0.1/32  scram-sha-256
END
}

start_server() { # primary|replica PORT
  write_server_configuration "$@"
  as_server_user "$postgres_bin/pg_ctl" --silent -D "$demo/$1" -l "$demo/$1.log" -w -t 60 start ||
    { tail -n 20 "$demo/$1.log" >&2; die "the $1 does not start: see above and $demo/$1.log"; }
}

stop_server() { # primary|replica; quiet when it does not run
  as_server_user "$postgres_bin/pg_ctl" --silent -D "$demo/$1" status > /dev/null 2>&1 || return 0
  as_server_user "$postgres_bin/pg_ctl" --silent -D "$demo/$1" -m fast -w -t 30 stop ||
    as_server_user "$postgres_bin/pg_ctl" --silent -D "$demo/$1" -m immediate -w -t 10 stop
}

stop_servers() {
  stop_server replica
  stop_server primary
}

ask_primary() { # psql options; SQL on standard input
  as_server_user psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$demo/sockets" -p "$primary_port" -d postgres "$@"
}

# The first start: two clusters, an application user with a database, a user for the replica.
create_servers() {
  say "Creating a PostgreSQL primary and a replica in $demo"
  as_server_user rm -rf "$demo/primary" "$demo/replica"
  write_passwords
  as_server_user "$postgres_bin/initdb" -D "$demo/primary" --auth=peer --encoding=UTF8 --locale=C.UTF-8 \
    > "$demo/initdb.log" 2>&1 || { cat "$demo/initdb.log" >&2; die "initdb failed: see above"; }
  start_server primary "$primary_port"
  ask_primary -v app="$(password_of app)" -v replicator="$(password_of replicator)" \
    -v control="$(password_of pgproxy)" << 'END'
create role app login password :'app';
create role replicator login replication password :'replicator';
create database app owner app;
create role pgproxy login password :'control';
grant pg_monitor to pgproxy;
select from pg_create_physical_replication_slot('replica');
END
  as_server_user env PGPASSFILE="$demo/pgpass" "$postgres_bin/pg_basebackup" -h 127.0.0.1 \
    -p "$primary_port" -U replicator -D "$demo/replica" -S replica -X stream -c fast --no-password
  as_server_user touch "$demo/replica/standby.signal"
  as_server_user touch "$demo/created-2"
}

start_servers() {
  as_server_user mkdir -p "$demo/sockets"
  if [[ -e $demo/created-2 ]]; then
    say "Starting the PostgreSQL primary and the replica in $demo"
    start_server primary "$primary_port"
  else
    create_servers
  fi
  start_server replica "$replica_port"
}

write_proxy_configuration() {
  write userlist.txt << END
"app" "$(password_of app)"
"admin" "$(password_of admin)"
"pgproxy" "$(password_of pgproxy)"
END
  write pgproxy.ini << END
; Written anew by scripts/run at each start. To change it: copy it, then scripts/run COPY.

[databases]
; what applications ask for = where it is
app = host=127.0.0.1 port=$primary_port dbname=app max_db_connections=10

[pgproxy]
listen_addr = 127.0.0.1
listen_port = $proxy_port
unix_socket_dir =

; Users and their passwords or SCRAM secrets, as in PgBouncer's userlist.txt.
auth_type = scram-sha-256
auth_file = $demo/userlist.txt
; Who may ask the console (database pgproxy).
admin_users = admin
; The status page, for browsers, and /metrics, for Prometheus.
http_listen = 127.0.0.1:$http_port

; A server connection goes back to its pool when its transaction ends.
pool_mode = transaction
; Server connections for each database and user: enough to keep a small machine busy.
default_pool_size = 5
; Clients in all; each costs about one kB and a file descriptor.
max_client_conn = 1000

; Seconds. How long a client may wait for a server connection before it gets an error.
query_wait_timeout = 10
; How long one query may take before its connection is closed.
query_timeout = 60
; How long a transaction may sit idle and keep a server connection from the others.
idle_transaction_timeout = 60
; From when on a client that sits idle in a transaction is named in the log.
leak_warning = 30
on_exhausted = queue
on_residue = pin
max_pinned_fraction = 0.5
; How long connecting and logging in to a server may take.
server_connect_timeout = 5

; The server is on this machine: no TLS to it.
server_tls_sslmode = disable

; The pools have to fit into the server, and can be filled: SHOW CAPACITY has the sum.
[capacity]
check = enforce
coordination = advisory_lock
instances = 1
safety_margin = 0.8
target_utilization = 0.7
capacity_check_interval = 60
on_overcommit = refuse_new
verify_acquire = 1
expected_rps = 100
mean_transaction_ms = 20
control_user = pgproxy
control_dbname = postgres

; A server that goes away is tried again every two seconds, for two minutes.
[recovery]
auto_recover = 1
max_attempts = 60
attempt_interval = 2
while_recovering = queue
failed_until = health_check
rerun_on = none

[health]
check_interval = 2
check_timeout = 1
failure_threshold = 3
health_query = SELECT 1
END
}
