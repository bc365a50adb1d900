"""Traefik: what comes in from outside."""

from __future__ import annotations

from typing import Final

from deploy.grafana.panels import UP, Board, Section, graph, one, quantile, quantiles, rate

INCOMING: Final = "traefik_entrypoint_requests_total"
SERVED: Final = "traefik_service_requests_total"
FAILED: Final = 'code=~"5.."'
SERVICES: Final = {"0": ("one is down", "red"), "1": ("all up", "green")}

TRAEFIK: Final = Board(
    "Traefik",
    "What comes in from outside, where it goes, and what does not get through.",
    [
        Section(
            "Now",
            [
                one("Proxy", 'up{job="traefik"}', words=UP),
                one("Services", "min(traefik_service_server_up)", words=SERVICES),
                one("Requests", rate(INCOMING), "reqps"),
                one(
                    "Failed",
                    f"({rate(INCOMING, FAILED)} or vector(0)) / {rate(INCOMING)}",
                    "percentunit",
                    bad=0.05,
                ),
                one("Connections", "sum(traefik_open_connections)"),
                one(
                    "Certificate ends in",
                    "min(max by (sans) (traefik_tls_certs_not_after)) - time()",
                    "dtdurations",
                    "The first of them; of one that was renewed, the new one.",
                    bad=14 * 24 * 3600,
                    bad_below=True,
                    empty="none",
                ),
            ],
            height=4,
        ),
        Section(
            "Requests",
            [
                graph("By service", "reqps", {"{{service}}": rate(SERVED, by="service")}),
                graph("By status", "reqps", {"{{code}}": rate(INCOMING, by="code")}, stacked=True),
                graph(
                    "Failed",
                    "percentunit",
                    {
                        "{{service}}": rate(SERVED, FAILED, "service")
                        + f" / {rate(SERVED, by='service')}"
                    },
                    "Status 500 and above; 502 to 504 are Traefik's own, when a service does not "
                    "answer.",
                    bad=0.05,
                ),
            ],
        ),
        Section(
            "Time of an answer",
            [
                graph("All", "s", quantiles("traefik_entrypoint_request_duration_seconds")),
                graph(
                    "p99 by service",
                    "s",
                    {
                        "{{service}}": quantile(
                            0.99, "traefik_service_request_duration_seconds", by="service"
                        )
                    },
                ),
            ],
        ),
        Section(
            "Traffic",
            [
                graph(
                    "Bytes",
                    "Bps",
                    {
                        "in": rate("traefik_entrypoint_requests_bytes_total"),
                        "out": rate("traefik_entrypoint_responses_bytes_total"),
                    },
                ),
                graph(
                    "Connections",
                    "short",
                    {"{{entrypoint}}": "sum by (entrypoint) (traefik_open_connections)"},
                    stacked=True,
                ),
            ],
        ),
    ],
)
