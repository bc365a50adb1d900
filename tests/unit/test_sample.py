"""The synthetic sample: what the generator writes is what is committed, quirks and all."""

from __future__ import annotations

import csv
import html
import re
import runpy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
IMDB = "IMDB Dataset/IMDB Dataset.csv"
AMAZON = "Amazon Food Reviews/Reviews.csv"
AIRLINE = "Airline Tweets/Tweets.csv"


def rows(name: str) -> list[dict[str, str]]:
    with (SAMPLE / name).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def folded(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def words(texts: list[str]) -> set[str]:
    return {word for text in texts for word in re.findall(r"[a-z']+", text.casefold())}


def test_running_the_generator_again_gives_the_committed_bytes(tmp_path: Path) -> None:
    script = runpy.run_path(str(SAMPLE / "generate.py"))
    written = cast(Callable[[Path], list[Path]], script["generate"])(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [IMDB, AMAZON, AIRLINE]
    for path in written:
        assert path.read_bytes() == (SAMPLE / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        (IMDB, "review,sentiment"),
        (
            AMAZON,
            "Id,ProductId,UserId,ProfileName,HelpfulnessNumerator,HelpfulnessDenominator,"
            "Score,Time,Summary,Text",
        ),
        (
            AIRLINE,
            "tweet_id,airline_sentiment,airline_sentiment_confidence,negativereason,"
            "negativereason_confidence,airline,airline_sentiment_gold,name,negativereason_gold,"
            "retweet_count,text,tweet_coord,tweet_created,tweet_location,user_timezone",
        ),
    ],
)
def test_columns_are_those_of_the_real_files(name: str, columns: str) -> None:
    for row in rows(name):
        assert list(row) == columns.split(",")
        assert None not in row.values()


def test_labels() -> None:
    reviews = Counter(row["sentiment"] for row in rows(IMDB))
    scores = Counter(row["Score"] for row in rows(AMAZON))
    tweets = Counter(row["airline_sentiment"] for row in rows(AIRLINE))
    assert set(reviews) == {"negative", "positive"}
    assert 0.45 < reviews["positive"] / reviews.total() < 0.55
    assert set(scores) == {"1", "2", "3", "4", "5", ""}
    assert scores[""] == 2
    assert scores.most_common(1)[0][0] == "5"
    assert set(tweets) == {"negative", "neutral", "positive"}
    assert tweets.most_common(1)[0][0] == "negative"


def test_enough_distinct_texts_with_an_opinion() -> None:
    texts = [folded(row["review"]) for row in rows(IMDB)]
    texts += [folded(row["Text"]) for row in rows(AMAZON) if row["Score"]]
    texts += [folded(row["text"]) for row in rows(AIRLINE) if row["airline_sentiment"] != "neutral"]
    assert len(set(texts)) >= 2_700
    assert len(texts) - len(set(texts)) >= 20, "some texts stand there twice, as in the real data"
    assert len(words(texts)) > 900


def test_size_stays_small() -> None:
    assert sum((SAMPLE / name).stat().st_size for name in (IMDB, AMAZON, AIRLINE)) < 1_500_000


def test_film_reviews_have_breaks_and_quotes_and_several_sentences() -> None:
    reviews = [row["review"] for row in rows(IMDB)]
    assert 0.3 < sum("<br /><br />" in text for text in reviews) / len(reviews) < 0.8
    assert any('"' in text for text in reviews)
    assert sum(text.count(".") >= 5 for text in reviews) > len(reviews) / 2


def test_food_reviews_begin_with_a_mark_and_mix_line_ends() -> None:
    content = (SAMPLE / AMAZON).read_bytes()
    assert content.startswith(b"\xef\xbb\xbfId,")
    assert 0 < content.count(b"\r\n") < content.count(b"\n")
    assert any("<a href=" in row["Text"] for row in rows(AMAZON))
    assert any("<br />" in row["Text"] for row in rows(AMAZON))


def test_tweets_look_like_tweets() -> None:
    tweets = rows(AIRLINE)
    texts = [row["text"] for row in tweets]
    assert all("@" in text for text in texts)
    for mark in ("#", "http://t.co/", "&amp;", ":)", ":(", "\n", "😊", "😡"):
        assert any(mark in text for text in texts), mark
    assert all(re.fullmatch(r"\d\.\d{5}E\+17", row["tweet_id"]) for row in tweets)
    assert all(
        bool(row["negativereason"]) == (row["airline_sentiment"] == "negative")
        or row["negativereason"] == "good flight"
        for row in tweets
    )
    assert max(map(len, texts)) < 280


def test_negation_and_contrast_occur() -> None:
    reviews = " ".join(row["review"] for row in rows(IMDB)).casefold()
    for phrase in ("not good", "not bad", "isn't", "wasn't", " but ", "despite"):
        assert reviews.count(phrase) >= 10, phrase
