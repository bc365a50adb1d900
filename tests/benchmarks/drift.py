"""Single predictions of the service with drift counted, against the same without."""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from pathlib import Path
from typing import Final

import msgspec

from opinionlens_server.models.active import COMPARED, LoadedModel
from opinionlens_server.services import make_services
from pipelines.base_model.opening import base_model, open_base
from pipelines.config.settings import Paths, Settings
from tests.benchmarks.contest import Contest
from tests.benchmarks.measuring import take_turns
from tests.benchmarks.results import Result
from tests.benchmarks.serving import LONG, SHORT

TEXTS: Final = 20_000
ROUNDS: Final = 21
SHARE: Final = 0.97


def drift(contest: Contest) -> list[Result]:
    """Predictions a second inside the process, on texts of two lengths."""
    reviews = [text for text in contest.test.texts if len(text) >= LONG][:100]
    scorer = open_base()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(root=Path(folder), paths=Paths(models=Path(folder) / "models"))
        services = make_services(settings, lambda entry: scorer)
        without = LoadedModel(base_model(), scorer)
        counted = msgspec.structs.replace(without, judged=deque(maxlen=COMPARED))

        async def predict(model: LoadedModel, texts: list[str], times: int) -> None:
            services.active_model.loaded = model
            for _ in range(times):
                for text in texts:
                    await services.predictor.predict(text)

        results = []
        for length in (SHORT, LONG):
            texts = [text[:length] for text in reviews]
            times = TEXTS * SHORT // length // len(texts)
            seconds = take_turns(
                {
                    name: lambda model=model, texts=texts, times=times: asyncio.run(  # type: ignore[misc]
                        predict(model, texts, times)
                    )
                    for name, model in {"counted": counted, "without": without}.items()
                },
                ROUNDS,
            )
            rates = {name: times * len(texts) / found for name, found in seconds.items()}
            share = rates["counted"] / rates["without"]
            results.append(
                Result(
                    what=f"predict in process, {length:,} characters, drift counted",
                    unit="texts/s",
                    ours=rates["counted"],
                    rival="not counted",
                    theirs=rates["without"],
                    ratio=share,
                    target=f">= {SHARE:.0%}",
                    reached=share >= SHARE,
                )
            )
    return results
