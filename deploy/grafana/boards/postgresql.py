"""PostgreSQL: the registry's database."""

from __future__ import annotations

from typing import Final

from deploy.grafana.panels import UP, Board, Section, graph, one, rate

OURS: Final = 'datname!~"|template.*"'
HITS: Final = "pg_stat_database_blks_hit"
READS: Final = "pg_stat_database_blks_read"

POSTGRESQL: Final = Board(
    "PostgreSQL",
    "The registry's database: connections, what they do, cache, size, and the age of the backup.",
    [
        Section(
            "Now",
            [
                one("Database", "pg_up", words=UP),
                one("Version", "pg_static", name="{{short_version}}"),
                one(
                    "Connections in use",
                    "sum(pg_stat_activity_count) / max(pg_settings_max_connections)",
                    "percentunit",
                    bad=0.8,
                    decimals=0,
                ),
                one(
                    "Read from memory",
                    f"sum({HITS}) / (sum({HITS}) + sum({READS}))",
                    "percentunit",
                    "Blocks found in PostgreSQL's own cache.",
                    decimals=1,
                ),
                one("Size", f"sum(pg_database_size_bytes{{{OURS}}})", "bytes"),
                one(
                    "Last backup",
                    "time() - opinionlens_backup_last_success_timestamp_seconds",
                    "dtdurations",
                    "Time since the last one that succeeded.",
                    bad=36 * 3600,
                    empty="never",
                ),
            ],
            height=4,
        ),
        Section(
            "Connections",
            [
                graph(
                    "By state",
                    "short",
                    {"{{state}}": "sum by (state) (pg_stat_activity_count) > 0"},
                    stacked=True,
                ),
                graph(
                    "Longest transaction",
                    "s",
                    {
                        "{{datname}}": "max by (datname) "
                        f"(pg_stat_activity_max_tx_duration{{{OURS}}})"
                    },
                ),
                graph(
                    "Locks",
                    "short",
                    {"{{mode}}": "sum by (mode) (pg_locks_count) > 0"},
                    stacked=True,
                ),
            ],
        ),
        Section(
            "Work",
            [
                graph(
                    "Transactions",
                    "ops",
                    {
                        f"{{{{datname}}}} {end}": rate(
                            f"pg_stat_database_xact_{end}", OURS, "datname"
                        )
                        for end in ("commit", "rollback")
                    },
                ),
                graph(
                    "Rows",
                    "short",
                    {
                        done: rate(f"pg_stat_database_tup_{done}")
                        for done in ("fetched", "inserted", "updated", "deleted")
                    },
                    "Per second.",
                ),
                graph(
                    "Deadlocks and conflicts",
                    "short",
                    {
                        trouble: f"sum(increase(pg_stat_database_{trouble}[5m]))"
                        for trouble in ("deadlocks", "conflicts")
                    },
                    "In five minutes.",
                ),
            ],
        ),
        Section(
            "Storage",
            [
                graph(
                    "Blocks",
                    "short",
                    {"from memory": rate(HITS), "from disk": rate(READS)},
                    "Read per second.",
                ),
                graph(
                    "Temporary files",
                    "Bps",
                    {"{{datname}}": rate("pg_stat_database_temp_bytes", OURS, "datname")},
                ),
                graph(
                    "Size",
                    "bytes",
                    {"{{datname}}": f"pg_database_size_bytes{{{OURS}}}"},
                    stacked=True,
                ),
            ],
        ),
    ],
)
