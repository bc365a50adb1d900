"""Write the synthetic sample: three CSV files laid out like the real data sets.

    python data/sample/generate.py [FOLDER]

Needs nothing but Python 3.11. The patterns and words are in vocabulary.toml. The same vocabulary
always gives the same bytes: every choice comes from `Random.random`, the one method whose
sequence Python promises to keep between versions.
"""

from __future__ import annotations

import csv
import html
import io
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

HERE = Path(__file__).resolve().parent
SEED = 20150224

REVIEWS = 1250
FOOD_REVIEWS = 830
TWEETS = 1050

DAY = 86_400
"""Seconds."""

T = TypeVar("T")
Lists = dict[str, list[str]]


class Dice:
    """Random choices that come out the same in every version of Python."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        return items[self.between(0, len(items) - 1)]

    def weighted(self, weights: dict[T, float]) -> T:
        rest = self._random.random() * sum(weights.values())
        for item, weight in weights.items():
            rest -= weight
            if rest < 0:
                return item
        return item

    def shuffled(self, items: Sequence[T]) -> list[T]:
        rest = list(items)
        return [rest.pop(self.between(0, len(rest) - 1)) for _ in items]

    def characters(self, alphabet: str, count: int) -> str:
        return "".join(self.pick(alphabet) for _ in range(count))


class Voice:
    """Speaks the sentences of one text.

    Parameters
    ----------
    dice : Dice
    lists : dict of str to list of str
        Patterns by name.
    positive : bool
        What the text says.
    strength : dict of str to float
        Weights of mild, plain and strong opinion words.
    names : dict of str to str
        What stays the same throughout the text: title, actor, product.
    """

    def __init__(
        self,
        dice: Dice,
        lists: Lists,
        positive: bool,
        strength: dict[str, float],
        names: dict[str, str] | None = None,
    ) -> None:
        self._dice = dice
        self._lists = lists
        self._strength = strength
        self._names = names or {}
        self._positive = positive

    def say(self, name: str, *, mean_it: bool = True) -> str:
        """Expand one pattern of the list `name`; without `mean_it` for the opposite opinion."""
        return self.say_one_of([f"{{{name}}}"], mean_it=mean_it)

    def say_one_of(self, patterns: Sequence[str], *, mean_it: bool = True) -> str:
        """Expand one of `patterns`."""
        positive = self._positive if mean_it else not self._positive
        return _with_articles(self._expand(self._dice.pick(patterns), positive))

    def _expand(self, pattern: str, positive: bool) -> str:
        def replace(match: re.Match[str]) -> str:
            name, sign = match.groups()
            if name in self._names:
                return self._names[name]
            meant = positive if sign != "-" else not positive
            if name == "adj":
                name = self._dice.weighted(self._strength)
            if sign:
                name += "_pos" if meant else "_neg"
            return self._expand(self._dice.pick(self._lists[name]), meant)

        return re.sub(r"\{(\w+)([+-]?)\}", replace, pattern)


def _with_articles(text: str) -> str:
    return re.sub(r"\b([Aa]) (?=[aeiouAEIOU](?!ne\b|se))", r"\1n ", text)


def _as_sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _vocabulary(domain: str) -> tuple[Lists, Lists]:
    """The lists of a domain on top of the shared ones, and the reasons for complaints."""
    tables = tomllib.loads((HERE / "vocabulary.toml").read_text(encoding="utf-8"))
    reasons: Lists = tables[domain].pop("reasons", {})
    lists: Lists = dict(tables["shared"])
    for name, patterns in tables[domain].items():
        lists[name] = lists.get(name, []) + patterns
    numbers = {"minutes": (82, 164), "hour": (1, 12), "ounces": (3, 30), "dollars": (3, 30)}
    lists |= {name: [str(n) for n in range(*limits)] for name, limits in numbers.items()}
    lists["gate"] = [f"{letter}{n}" for letter in "ABC" for n in range(1, 40, 3)]
    lists["flight"] = [str(n) for n in range(211, 3900, 37)]
    lists["code"] = [f"B00{n:05d}QX" for n in range(1234, 99_000, 7919)]
    return lists, reasons


def _body(dice: Dice, voice: Voice, sentences: int) -> list[str]:
    """Opinions and facts; how often the writer contradicts themselves differs between writers."""
    sure = dice.weighted({0.97: 0.6, 0.85: 0.25, 0.65: 0.15})
    kinds = {"fact": 0.28, "opinion": 0.46, "opinion+": 0.11, "negation": 0.08, "contrast": 0.07}
    spoken = []
    for _ in range(sentences):
        kind = dice.weighted(kinds)
        spoken.append(_as_sentence(voice.say(kind, mean_it=dice.chance(sure))))
    return spoken


def _paragraphs(dice: Dice, sentences: Sequence[str]) -> str:
    """Join sentences, most texts with HTML breaks between some of them, as web forms did."""
    breaks = 0.22 if dice.chance(0.58) else 0.0
    text = sentences[0]
    for sentence in sentences[1:]:
        text += ("<br /><br />" if dice.chance(breaks) else " ") + sentence
    return text


def _key(text: str) -> str:
    """Equal for texts that would count as duplicates after preprocessing."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).casefold().split())


def _distinct(count: int, make: Callable[[], T], text_of: Callable[[T], str]) -> list[T]:
    seen: set[str] = set()
    items: list[T] = []
    while len(items) < count:
        item = make()
        if (key := _key(text_of(item))) not in seen:
            seen.add(key)
            items.append(item)
    return items


def _with_repeats(dice: Dice, items: list[T], total: int) -> list[T]:
    """Fill up to `total` with copies of items, as the real files hold some texts twice."""
    copies = [dice.pick(items) for _ in range(total - len(items))]
    return dice.shuffled(items + copies)


# Film reviews


def _film_names(dice: Dice, lists: Lists) -> dict[str, str]:
    voice = Voice(dice, lists, True, {})
    people = [f"{dice.pick(lists['first_name'])} {dice.pick(lists['last_name'])}" for _ in "123"]
    names = dict(zip(("actor", "other_actor", "director"), people, strict=True))
    titles = {name: voice.say("title") for name in ("title", "other_title")}
    return {**names, **titles, "genre": dice.pick(lists["genre"])}


def _review(dice: Dice, lists: Lists) -> tuple[str, str]:
    positive = dice.chance(0.5)
    strength = {"mild": dice.pick([0.1, 0.3]), "plain": 0.55, "strong": dice.pick([0.1, 0.3])}
    voice = Voice(dice, lists, positive, strength, _film_names(dice, lists))
    length = dice.weighted({3: 0.1, 6: 0.25, 9: 0.3, 12: 0.2, 16: 0.1, 24: 0.05})
    sentences = [voice.say("opening"), *_body(dice, voice, length)]
    if dice.chance(0.6):
        sentences.append(voice.say("closing+"))
    meant = positive != dice.chance(0.025)
    text = _paragraphs(dice, [_as_sentence(sentence) for sentence in sentences])
    return text, "positive" if meant else "negative"


def imdb(dice: Dice) -> Iterator[Sequence[object]]:
    """Rows of the film reviews: text and label."""
    lists, _ = _vocabulary("film")
    reviews = _distinct(REVIEWS - 10, lambda: _review(dice, lists), lambda review: review[0])
    yield "review", "sentiment"
    yield from _with_repeats(dice, reviews, REVIEWS)


# Food reviews

SCORES = {5: 0.5, 4: 0.12, 3: 0.06, 2: 0.12, 1: 0.2}
STRENGTHS = {
    5: {"mild": 0.05, "plain": 0.5, "strong": 0.45},
    4: {"mild": 0.4, "plain": 0.55, "strong": 0.05},
    3: {"mild": 0.7, "plain": 0.3},
    2: {"mild": 0.35, "plain": 0.6, "strong": 0.05},
    1: {"mild": 0.05, "plain": 0.5, "strong": 0.45},
}


def _food_review(dice: Dice, lists: Lists) -> tuple[int, str, str]:
    """Score, summary and text."""
    score = dice.weighted(SCORES)
    names = {name: dice.pick(lists[name]) for name in ("brand", "product", "pack", "pet")}
    voice = Voice(dice, lists, score >= 3, STRENGTHS[score], names)
    sentences = [voice.say("opening"), *_body(dice, voice, dice.pick([2, 3, 3, 4, 5, 6, 9]))]
    if score == 3:
        sentences[-1:] = [voice.say("mixed"), voice.say("mixed")]
    elif dice.chance(0.5):
        sentences.append(voice.say("closing+"))
    if dice.chance(0.05):
        sentences.append(voice.say("face+"))
    summary = voice.say("summary_mixed" if score == 3 else "summary+")
    text = " ".join(_as_sentence(sentence) for sentence in sentences)
    if dice.chance(0.15):
        text = text.replace(". ", ".<br />", 1)
    if dice.chance(0.03):
        score = 6 - score
    return score, _as_sentence(summary), text


def _food_row(
    dice: Dice, lists: Lists, number: int, score: int | str, summary: str, text: str
) -> Sequence[object]:
    capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    votes = dice.weighted({0: 0.5, dice.between(1, 4): 0.4, dice.between(5, 60): 0.1})
    helpful = dice.between(0, votes)
    product, user = "B00" + dice.characters(capitals, 7), "A" + dice.characters(capitals, 13)
    profile = Voice(dice, lists, True, {}).say("user")
    time = dice.between(12_400, 15_600) * DAY
    return number, product, user, profile, helpful, votes, score, time, summary, text


def amazon(dice: Dice) -> Iterator[Sequence[object]]:
    """Rows of the food reviews, two of them without a score."""
    lists, _ = _vocabulary("food")
    made = _distinct(FOOD_REVIEWS - 30, lambda: _food_review(dice, lists), lambda item: item[2])
    blank = {dice.between(1, 400), dice.between(401, FOOD_REVIEWS)}
    yield (
        *("Id", "ProductId", "UserId", "ProfileName", "HelpfulnessNumerator"),
        *("HelpfulnessDenominator", "Score", "Time", "Summary", "Text"),
    )
    for number, (score, summary, text) in enumerate(_with_repeats(dice, made, FOOD_REVIEWS), 1):
        yield _food_row(dice, lists, number, "" if number in blank else score, summary, text)


# Airline tweets

SENTIMENTS = {"negative": 0.46, "neutral": 0.26, "positive": 0.28}
ZONES = ("Eastern Time (US & Canada)", "Central Time (US & Canada)", "Quito", "London", "")
UNCLEAR = "Can't Tell"


class Tweet:
    """One tweet: what it says, about whom and why."""

    def __init__(self, dice: Dice, lists: Lists, reasons: Lists) -> None:
        self.sentiment = dice.weighted(SENTIMENTS)
        self.airline = dice.pick(lists["airline"])
        self.reason = dice.pick(list(reasons)) if self.sentiment == "negative" else ""
        strength = {"mild": 0.2, "plain": 0.5, "strong": 0.3}
        voice = Voice(dice, lists, self.sentiment == "positive", strength)
        self.text = self._decorate(dice, voice, self._say(dice, voice, reasons))
        if self.reason and dice.chance(0.025):
            self.sentiment, self.reason = "positive", "good flight"

    def _say(self, dice: Dice, voice: Voice, reasons: Lists) -> str:
        if self.sentiment != "negative":
            return voice.say("thanks" if self.sentiment == "positive" else "neutral")
        if dice.chance(0.07):
            return voice.say("sarcasm")
        said = voice.say_one_of(reasons[self.reason])
        if dice.chance(0.25):
            said = f"{said.rstrip('.?')}. {voice.say_one_of(reasons[UNCLEAR])}"
        return said

    def _decorate(self, dice: Dice, voice: Voice, said: str) -> str:
        sign = "+" if self.sentiment != "neutral" else ""
        if dice.chance(0.5):
            said = _as_sentence(said)
        if dice.chance(0.1):
            said = re.sub(r"\b(\w{5,})\b", lambda match: match[0].upper(), said, count=1)
        if not said.endswith("?"):
            said += dice.weighted({"": 0.5, "!": 0.2, ".": 0.2, "!!!": 0.05, "...": 0.05})
        if sign and dice.chance(0.2):
            said += f" {voice.say(dice.pick(['face+', 'emoji+']))}"
        if dice.chance(0.25):
            said += f" {voice.say('tag+' if sign else 'tag_neutral')}"
        if dice.chance(0.1):
            said += (
                f" http://t.co/{dice.characters('abcdefghijkmnpqrstuvwxyzABCDEFGH23456789', 10)}"
            )
        if dice.chance(0.3):
            said = said.replace(" and ", " &amp; ")
        if dice.chance(0.04):
            said = said.replace(". ", ".\n", 1) if ". " in said else said.replace(", ", ",\n", 1)
        handle = "@" + self.airline.replace(" ", "")
        if dice.chance(0.05):
            handle = handle.lower()
        return f"{handle} {said}" if dice.chance(0.85) else f"{said} {handle}"


def _tweet_row(dice: Dice, lists: Lists, tweet: Tweet, minute: int) -> Sequence[object]:
    """Columns as in the real file; `minute` counts back from the evening of 24 February 2015."""
    sure = ("1", "1", "1", "0.6667", f"0.{dice.between(3400, 9900)}")
    day, rest = divmod(minute, 24 * 60)
    created = f"{24 - day}-02-2015 {23 - rest // 60}.{59 - rest % 60:02d}"
    name = re.sub(r"\W", "", Voice(dice, lists, True, {}).say("last_name")).lower()
    place = dice.pick(lists["city"]) if dice.chance(0.65) else ""
    gold = tweet.sentiment if dice.chance(0.005) else ""
    return (
        f"{5.70307e17 - minute * 2.4e11:.5E}",
        tweet.sentiment,
        dice.pick(sure),
        tweet.reason,
        dice.pick(sure) if tweet.reason else "",
        tweet.airline,
        gold,
        f"{name}{dice.between(1, 99)}",
        tweet.reason if gold else "",
        dice.weighted({0: 0.94, 1: 0.05, dice.between(2, 30): 0.01}),
        tweet.text,
        f"[{dice.between(25, 48)}.{dice.between(1, 9999)}, 0.0]" if dice.chance(0.07) else "",
        created,
        place,
        dice.pick(ZONES),
    )


def airline(dice: Dice) -> Iterator[Sequence[object]]:
    """Rows of the tweets, newest first."""
    lists, reasons = _vocabulary("air")
    made = _distinct(TWEETS - 10, lambda: Tweet(dice, lists, reasons), lambda tweet: tweet.text)
    yield (
        *("tweet_id", "airline_sentiment", "airline_sentiment_confidence", "negativereason"),
        *("negativereason_confidence", "airline", "airline_sentiment_gold", "name"),
        *("negativereason_gold", "retweet_count", "text", "tweet_coord", "tweet_created"),
        *("tweet_location", "user_timezone"),
    )
    for number, tweet in enumerate(_with_repeats(dice, made, TWEETS)):
        yield _tweet_row(dice, lists, tweet, number * 11 + dice.between(0, 10))


def _csv(rows: Iterator[Sequence[object]], line_end: str) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator=line_end).writerows(rows)
    return buffer.getvalue()


def _as_passed_on(text: str) -> str:
    """With a byte order mark and two kinds of line ends, as spreadsheets and scripts leave it."""
    rows = text.split("\r\n")
    windows = len(rows) * 5 // 8
    return "\ufeff" + "\r\n".join(rows[:windows]) + "\r\n" + "\n".join(rows[windows:])


def generate(folder: Path) -> list[Path]:
    """Write the three files below `folder` and return their paths."""
    contents = {
        "IMDB Dataset/IMDB Dataset.csv": _csv(imdb(Dice(SEED)), "\n"),
        "Amazon Food Reviews/Reviews.csv": _as_passed_on(_csv(amazon(Dice(SEED + 1)), "\r\n")),
        "Airline Tweets/Tweets.csv": _csv(airline(Dice(SEED + 2)), "\r\n"),
    }
    paths = []
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8"))
        paths.append(path)
    return paths


def main() -> None:
    """Write the files to the folder named on the command line, or next to this script."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for path in generate(folder):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
