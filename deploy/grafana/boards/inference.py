"""Inference: what the model does, and whether it still does what it used to."""

from __future__ import annotations

from typing import Final

from deploy.grafana.panels import Board, Section, graph, one, quantile, quantiles, rate

TEXT_SECONDS: Final = "model_inference_time_seconds"

INFERENCE: Final = Board(
    "Inference",
    "Which model answers, how much it is asked, how fast it is, and whether texts or verdicts "
    "change.",
    [
        Section(
            "Now",
            [
                one("Model", "opinionlens_model_info", name="{{name}} version {{version}}"),
                one(
                    "Answers since",
                    "opinionlens_model_last_switch_timestamp_seconds * 1000",
                    "dateTimeFromNow",
                    empty="never switched",
                ),
                one("Verdicts of the last hour", "inference:verdicts:increase1h", decimals=0),
                one(
                    "Positive in the last hour",
                    'inference:class_share:rate1h{sentiment="POSITIVE"}',
                    "percentunit",
                    decimals=1,
                ),
                one("p99 of one text", quantile(0.99, TEXT_SECONDS), "s"),
                one(
                    "Follows its alias",
                    "opinionlens_following_ok",
                    description="Whether the model that the registry's alias points to answers.",
                    words={"0": ("no", "red"), "1": ("yes", "green")},
                    empty="follows none",
                ),
            ],
            height=4,
        ),
        Section(
            "Requests",
            [
                graph(
                    "Verdicts",
                    "short",
                    {"{{sentiment}}": rate("predicted_sentiment_total", by="sentiment")},
                    "Per second, of single texts and of batches.",
                    stacked=True,
                ),
                graph(
                    "Requests",
                    "reqps",
                    {
                        "single texts": rate(f"{TEXT_SECONDS}_count"),
                        "batches": rate("batch_size_text_count"),
                    },
                ),
            ],
        ),
        Section(
            "Time of the model",
            [
                graph("One text", "s", quantiles(TEXT_SECONDS)),
                graph(
                    "A text of a batch",
                    "s",
                    quantiles("batch_inference_time_per_item_seconds"),
                    "Time of the batch by the number of its texts.",
                ),
            ],
        ),
        Section(
            "Texts",
            [
                graph("Characters of a text", "short", quantiles("input_text_length_chars")),
                graph("Texts of a batch", "short", quantiles("batch_size_text")),
            ],
        ),
        Section(
            "Drift: the last hour beside the week before it",
            [
                graph(
                    "Share of each class",
                    "percentunit",
                    {
                        "{{sentiment}}, last hour": "inference:class_share:rate1h",
                        "{{sentiment}}, week before": "inference:class_share:rate1w",
                    },
                    "VerdictShareDrifts fires when those of a class are 15 points apart.",
                    highest=1,
                ),
                graph(
                    "Median length of texts",
                    "short",
                    {
                        "last hour": "inference:text_length_chars:median1h",
                        "week before": "inference:text_length_chars:median1w",
                    },
                    "TextLengthDrifts fires when one is twice the other.",
                ),
            ],
        ),
        Section(
            "Drift: the newest 1,000 texts beside those that the model was made for",
            [
                graph(
                    "Population stability index",
                    "short",
                    {
                        "{{feature}}": "opinionlens_drift_psi",
                        "limit": "max(opinionlens_drift_limit)",
                    },
                    "0: the texts are alike. TextsDrift fires when a feature stays above its "
                    "limit. Nothing is shown for fewer than 300 texts, or a model that does not "
                    "say what its texts should look like.",
                ),
                graph("Texts that are compared", "short", {"texts": "opinionlens_drift_texts"}),
            ],
        ),
        Section(
            "Models",
            [
                graph(
                    "Fetches",
                    "short",
                    {
                        "{{outcome}}": "sum by (outcome) "
                        "(increase(opinionlens_model_fetches_total[1h]))"
                    },
                    "In one hour.",
                ),
                graph("In the cache", "short", {"models": "opinionlens_model_cache_models"}),
                graph("Size of the cache", "bytes", {"size": "opinionlens_model_cache_bytes"}),
            ],
        ),
    ],
)
