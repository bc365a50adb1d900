"""Node: the machine below everything.

Its network is not here: node-exporter would see that of its container. Traefik's dashboard tells
what comes in and goes out.
"""

from __future__ import annotations

from typing import Final

from deploy.grafana.panels import Board, Section, graph, one, rate

DEVICES: Final = 'device!~"(loop|ram|zram|dm-|sr)[0-9]+"'
CPU_SECONDS: Final = "node_cpu_seconds_total"
PROCESSORS: Final = f'count({CPU_SECONDS}{{mode="idle"}})'
LEFT: Final = "mountpoint:node_filesystem_available:ratio"

NODE: Final = Board(
    "Node",
    "The machine below everything: processors, memory, disks, and what waits for them.",
    [
        Section(
            "Now",
            [
                one("Runs for", "time() - node_boot_time_seconds", "dtdurations"),
                one("Processors", PROCESSORS),
                one(
                    "Processors busy",
                    f'1 - avg(rate({CPU_SECONDS}{{mode="idle"}}[$__rate_interval]))',
                    "percentunit",
                    decimals=0,
                ),
                one(
                    "Memory left",
                    "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
                    "percentunit",
                    bad=0.05,
                    bad_below=True,
                    decimals=0,
                ),
                one(
                    "Left on the fullest disk",
                    f"min({LEFT})",
                    "percentunit",
                    bad=0.1,
                    bad_below=True,
                    decimals=0,
                ),
                one("Alerts", 'count(ALERTS{alertstate="firing"}) or vector(0)', bad=1),
            ],
            height=4,
        ),
        Section(
            "Processors",
            [
                graph(
                    "Busy",
                    "percentunit",
                    {
                        "{{mode}}": rate(CPU_SECONDS, 'mode!="idle"', "mode")
                        + f" / scalar({PROCESSORS})"
                    },
                    stacked=True,
                    highest=1,
                ),
                graph(
                    "Load",
                    "short",
                    {
                        "1 minute": "node_load1",
                        "15 minutes": "node_load15",
                        "processors": PROCESSORS,
                    },
                    "Processes that run or wait; above the number of processors, they queue.",
                ),
                graph(
                    "Pressure",
                    "percentunit",
                    {
                        what: f"rate(node_pressure_{what}_waiting_seconds_total[$__rate_interval])"
                        for what in ("cpu", "memory", "io")
                    },
                    "Share of time in which something waited for it.",
                ),
            ],
        ),
        Section(
            "Memory",
            [
                graph(
                    "In use",
                    "bytes",
                    {
                        "used": "node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes",
                        "available": "node_memory_MemAvailable_bytes",
                    },
                    stacked=True,
                ),
                graph(
                    "Processes killed for their memory",
                    "short",
                    {"killed": "increase(node_vmstat_oom_kill[15m])"},
                    "In 15 minutes, by the machine or by the limit of a container.",
                ),
            ],
        ),
        Section(
            "Disks",
            [
                graph(
                    "Left",
                    "percentunit",
                    {"{{mountpoint}}": LEFT},
                    bad=0.1,
                    bad_below=True,
                    highest=1,
                ),
                graph(
                    "Bytes",
                    "Bps",
                    {
                        f"{{{{device}}}} {done}": rate(
                            f"node_disk_{done}_bytes_total", DEVICES, "device"
                        )
                        for done in ("read", "written")
                    },
                ),
                graph(
                    "Busy",
                    "percentunit",
                    {"{{device}}": rate("node_disk_io_time_seconds_total", DEVICES, "device")},
                    "Share of time in which the disk worked.",
                    highest=1,
                ),
            ],
        ),
    ],
)
