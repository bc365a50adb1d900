-- Run once, by the image's entry point, when the database is empty. The secrets come from files.

\set password `cat /run/secrets/postgres_password`
CREATE ROLE mlflow LOGIN PASSWORD :'password';
ALTER DATABASE mlflow OWNER TO mlflow;
CREATE DATABASE mlflow_auth OWNER mlflow;

\set password `cat /run/secrets/exporter_password`
CREATE ROLE exporter LOGIN PASSWORD :'password';
GRANT pg_monitor TO exporter;

-- The superuser gets in through the container's own socket only.
ALTER ROLE postgres PASSWORD NULL;
