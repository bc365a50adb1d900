"""The services that are compared: ``python -m tests.benchmarks.serving_apps NAME PORT FOLDER``.

``ours`` is the service as it is, over the project in FOLDER, with one more route that does all
that `predict` does but ask a model. ``fastapi`` is what somebody would write instead: FastAPI over
a scikit-learn pipeline, kept in FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fastapi import FastAPI
    from litestar import Litestar

ECHO: Final = "/api/v1/inference/echo"
PIPELINE_FILE: Final = "pipeline.joblib"


def ours(folder: Path) -> Litestar:
    """Our service with the echo route."""
    from litestar import post
    from litestar.params import JSONBody

    from opinionlens_server.api.inference import TextBody
    from opinionlens_server.app import create_app
    from opinionlens_server.models.predictor import Prediction
    from opinionlens_server.security.guards import admit
    from pipelines.config.settings import load_settings

    @post(ECHO, status_code=200, before_request=admit)
    async def echo(data: JSONBody[TextBody]) -> Prediction:
        return Prediction("POSITIVE", 0.75 if data.text else 0.5, 1.0, "weak", "reviews-v1")

    # Litestar resolves the annotations of handlers in the globals of their module.
    globals().update(JSONBody=JSONBody, TextBody=TextBody, Prediction=Prediction)
    app = create_app(load_settings(folder))
    app.register(echo)
    return app


def fastapi(folder: Path) -> FastAPI:
    """A route over a pipeline, with nothing else that takes time."""
    import joblib
    from fastapi import FastAPI
    from pydantic import BaseModel

    pipeline = joblib.load(folder / PIPELINE_FILE)
    app = FastAPI()

    class Item(BaseModel):
        text: str

    class Answer(BaseModel):
        prediction: str
        confidence: float

    def answers(texts: list[str]) -> list[Answer]:
        found: Any = pipeline.predict_proba(texts)[:, 1].tolist()
        return [
            Answer(prediction="POSITIVE" if p > 0.5 else "NEGATIVE", confidence=max(p, 1 - p))
            for p in found
        ]

    # On the event loop: a thread for each text makes it slower still.
    async def predict(item: Item) -> Answer:
        return answers([item.text])[0]

    def batch_predict(texts: list[str]) -> list[Answer]:
        return answers(texts)

    predict.__annotations__.update(item=Item)
    predict.__annotations__["return"] = Answer
    batch_predict.__annotations__["texts"] = list[str]
    batch_predict.__annotations__["return"] = list[Answer]
    app.post("/predict")(predict)
    app.post("/batch_predict")(batch_predict)
    return app


def main() -> None:
    """Serve on one worker, ours with all that `olens serve` tells Uvicorn."""
    import uvicorn

    from opinionlens_server.workers import ServerConfig
    from pipelines.config.settings import load_settings

    name, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if name == "ours":
        config: uvicorn.Config = ServerConfig(load_settings(folder).serving, {"version": 1}, 1)
        config.app, config.factory = ours(folder), False
    else:
        config = uvicorn.Config(
            fastapi(folder), log_level="warning", access_log=False, server_header=False
        )
    config.port = port
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
