"""HTTP: what users of the service see."""

from __future__ import annotations

from typing import Final

from deploy.grafana.panels import UP, Board, Section, graph, one, quantile, quantiles, rate

USERS: Final = 'route!~"/health.*|.*/metrics"'
SECONDS: Final = "http_request_duration_seconds"
VERDICTS: Final = 'route="/api/v1/inference/predict"'

HTTP: Final = Board(
    "HTTP",
    "What users ask of the service, how long it takes, and what fails. Health checks and scrapes "
    "are left out.",
    [
        Section(
            "Now",
            [
                one("Service", 'up{job="app"}', words=UP),
                one("Requests", "app:http_requests:rate5m", "reqps"),
                one(
                    "Failed",
                    "app:http_request_errors:ratio_rate5m",
                    "percentunit",
                    "Answers with a status of 500 or above, in five minutes.",
                    bad=0.05,
                ),
                one(
                    "p99 of a verdict",
                    "app:predict_seconds:p99_rate5m",
                    "s",
                    "On single texts.",
                    bad=0.25,
                ),
            ],
            height=4,
        ),
        Section(
            "Requests",
            [
                graph(
                    "By route",
                    "reqps",
                    {
                        "{{method}} {{route}}": "topk(10, "
                        f"{rate('http_requests_total', USERS, 'method, route')})"
                    },
                    "The ten busiest.",
                ),
                graph(
                    "By status",
                    "reqps",
                    {"{{status}}": rate("http_requests_total", USERS, "status")},
                    stacked=True,
                ),
            ],
        ),
        Section(
            "Errors",
            [
                graph(
                    "Failed",
                    "percentunit",
                    {"of all requests": "app:http_request_errors:ratio_rate5m"},
                    "Status 500 and above, in five minutes.",
                    bad=0.05,
                ),
                graph(
                    "Refused",
                    "reqps",
                    {
                        "{{status}} {{route}}": rate(
                            "http_requests_total", f'status=~"4..",{USERS}', "status, route"
                        )
                    },
                    "Bad input, no credentials, too many requests.",
                ),
            ],
        ),
        Section(
            "Time of an answer",
            [
                graph("A verdict on one text", "s", quantiles(SECONDS, VERDICTS), bad=0.25),
                graph("All routes", "s", quantiles(SECONDS, USERS)),
                graph(
                    "p99 by route",
                    "s",
                    {"{{route}}": f"topk(10, {quantile(0.99, SECONDS, USERS, 'route')})"},
                    "The ten slowest.",
                ),
            ],
        ),
        Section(
            "Workers",
            [
                graph("Workers", "short", {"running": "opinionlens_workers"}),
                graph(
                    "Memory",
                    "bytes",
                    {"all workers": "opinionlens_memory_bytes"},
                    "What they share counts once.",
                ),
            ],
        ),
    ],
)
