#!/bin/sh
# Stands in for the entry point of PostgreSQL's image: makes the database at the first start, as any
# user, and runs the scripts that are mounted for it.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p -m 700 "$PGDATA"
    # initdb wants the user to have a name.
    echo "postgres:x:$(id -u):$(id -g)::/:" > /tmp/passwd
    touch /tmp/group
    LD_PRELOAD=libnss_wrapper.so NSS_WRAPPER_PASSWD=/tmp/passwd NSS_WRAPPER_GROUP=/tmp/group \
        initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options='-c listen_addresses= -c unix_socket_directories=/run/postgresql' start
    createdb --host=/run/postgresql --username="$POSTGRES_USER" "$POSTGRES_DB"
    for script in /docker-entrypoint-initdb.d/*.sql; do
        psql --host=/run/postgresql --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
            --set=ON_ERROR_STOP=1 --file="$script"
    done
    pg_ctl --wait stop
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/run/postgresql
