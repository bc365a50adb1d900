"""What a busy day looks like: programs that ask for one verdict or many, and people on the page.

``locust -f tests/load/locustfile.py --headless --users 50 --spawn-rate 25 --run-time 1m --host
http://127.0.0.1:8000``. An answer that does not hold together counts as a failure. All users come
from one address, so the server should run with ``OLENS_SERVING__RATE_LIMIT=0``.
"""

from __future__ import annotations

import random

from locust import FastHttpUser, between, task

SENTENCES = (
    "The plot is thin, but the acting is superb.",
    "Two hours late, and no apology.",
    "I would buy it again at twice the price!",
    "The soup was cold and the waiter rude :(",
    "Nothing special, though the ending made me cry.",
    "Schöne Bilder, schwache Geschichte 👍🏽",
    "It broke after a week, and the shop does not answer.",
    "My children laughed from the first minute to the last.",
)
API = "/api/v1/inference"


def review(sentences: int) -> str:
    """A text of so many sentences."""
    return " ".join(random.choices(SENTENCES, k=sentences))


def check(found: object) -> str | None:
    """What is wrong with an answer of the API; None if nothing is."""
    if not isinstance(found, dict):
        return f"no answer: {found!r}"
    if found.get("prediction") not in {"POSITIVE", "NEGATIVE"}:
        return f"no prediction: {found!r}"
    confidence = found.get("confidence")
    if not isinstance(confidence, float) or not 0.5 <= confidence <= 1:
        return f"no confidence: {found!r}"
    return None if found.get("model") else f"no model: {found!r}"


class Program(FastHttpUser):
    """Asks for verdicts without much of a pause."""

    weight = 8
    wait_time = between(0.01, 0.1)

    @task(60)
    def post_predict(self) -> None:
        """A tweet or a review."""
        text = review(random.choice((1, 1, 2, 4, 25)))
        with self.rest("POST", f"{API}/predict", json={"text": text}) as answer:
            if problem := check(answer.js):
                answer.failure(problem)

    @task(15)
    def get_predict(self) -> None:
        """A short text in the query string."""
        with self.client.get(
            f"{API}/predict", params={"text": review(1)}, name=f"{API}/predict", catch_response=True
        ) as answer:
            if problem := check(answer.json()):
                answer.failure(problem)

    @task(4)
    def batch(self) -> None:
        """A hundred reviews."""
        texts = [review(random.randint(1, 25)) for _ in range(100)]
        with self.rest("POST", f"{API}/batch_predict", json=texts) as answer:
            if not isinstance(answer.js, list) or len(answer.js) != len(texts):
                answer.failure(f"not one answer for each text: {answer.status_code}")
                return
            problems = {found["model"] for found in answer.js}
            if len(problems) != 1:
                answer.failure(f"several models answered: {problems}")

    @task(2)
    def explain(self) -> None:
        """Why."""
        with self.rest("POST", f"{API}/explain", json={"text": review(4)}) as answer:
            if problem := check(answer.js):
                answer.failure(problem)

    @task(1)
    def wrong(self) -> None:
        """An empty text is refused, and nothing worse."""
        with self.client.post(
            f"{API}/predict", json={"text": " "}, name=f"{API}/predict (blank)", catch_response=True
        ) as answer:
            if answer.status_code == 400:
                answer.success()
            else:
                answer.failure(f"status {answer.status_code}")


class Person(FastHttpUser):
    """Opens the page, tries a text or two, and thinks about them."""

    weight = 2
    wait_time = between(1, 3)

    def on_start(self) -> None:
        """Arrive."""
        self.client.get("/")

    @task(5)
    def evaluate(self) -> None:
        """Press Evaluate."""
        with self.client.post(
            "/",
            data={"text": review(random.randint(1, 8))},
            headers={"HX-Request": "true"},
            catch_response=True,
        ) as answer:
            if "% confidence" not in (answer.text or ""):
                answer.failure("no verdict")

    @task(1)
    def reload(self) -> None:
        """Come back."""
        self.client.get("/")

    @task(1)
    def look_at_health(self) -> None:
        """As a load balancer would."""
        self.client.get("/health/ready")
