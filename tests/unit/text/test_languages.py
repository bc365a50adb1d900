"""What differs between languages: negation, sentence ends, and finding out which one it is."""

from __future__ import annotations

import pytest

from pipelines.config.params import Language
from pipelines.errors import DataError
from pipelines.text.buffers import text_buffer
from pipelines.text.languages import LANGUAGES, find_language
from pipelines.text.ngrams import count_ngrams
from pipelines.text.sentences import split_sentences
from tests import german


def negated_words(text: str, language: Language) -> int:
    """How many tokens of a text are negated: those that have one more bucket."""
    counted = count_ngrams(text_buffer([text]), 1, 30, language=language)[0].size
    return counted - count_ngrams(text_buffer([text]), 1, 30, language="other")[0].size


@pytest.mark.parametrize(
    ("language", "negated", "taken_back"),
    [
        ("en", "it was not good", "it was not only good"),
        ("de", "er war NICHT gut", "er war nicht nur gut"),
        ("es", "no es bueno", "no solo es bueno"),
        ("fr", "ce n’est bon", "sans mais bon"),
        ("it", "non è buono", "non solo buono"),
        ("nl", "het is niet goed", "het is niet alleen goed"),
        ("pt", "não recomendo", "não apenas recomendo"),
    ],
)
def test_negators_and_their_ends(language: Language, negated: str, taken_back: str) -> None:
    assert negated_words(negated, language) > 0
    assert negated_words(taken_back, language) == 0
    others = [code for code in LANGUAGES if code not in (language, "other")]
    assert any(negated_words(negated, code) == 0 for code in others)


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("de", "Am 3. Mai kam z. B. Dr. Graf. Gut!", ["Am 3. Mai kam z. B. Dr. Graf.", "Gut!"]),
        ("de", "Im Jahr 1999. Danach nie.", ["Im Jahr 1999.", "Danach nie."]),
        ("en", "We were 12. Then 13.", ["We were 12.", "Then 13."]),
        (
            "es",
            "La Sra. Gómez no vino. ¿Y tú? ¡Bien!",
            ["La Sra. Gómez no vino.", "¿Y tú?", "¡Bien!"],
        ),
        ("other", "Bardzo dobre. Polecam", ["Bardzo dobre.", "Polecam"]),
    ],
)
def test_sentence_ends(language: Language, text: str, sentences: list[str]) -> None:
    assert [text[start:end] for start, end in split_sentences(text, language)] == sentences


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "I bought it for the kitchen and it is what we were looking for, and more."),
        ("de", "Ich habe es für die Küche gekauft, und es ist auch noch das, was wir suchten."),
        ("es", "Lo compré para la cocina y es lo que nosotros estábamos buscando desde hace años."),
        ("fr", "Je l'ai acheté pour la cuisine et c'est ce que nous cherchions depuis des années."),
        ("it", "L'ho comprato per la cucina ed è quello che noi cercavamo già da molti anni."),
        ("nl", "Ik heb het voor de keuken gekocht en het is wat wij al jaren zochten."),
        ("pt", "Comprei para a cozinha e é o que nós procurávamos há muitos anos, muito bom."),
    ],
)
def test_the_language_of_texts_is_found(language: Language, text: str) -> None:
    found = find_language([text])
    assert found.language == language
    assert f"{LANGUAGES[language].name} (language: {language})" in found.evidence


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["12345 😀"],
        ["Bardzo dobre, polecam wszystkim, którzy szukają czegoś takiego do kuchni."],
        [*german.reviews(50, ("",), 0)[0], *["The film was what we had been hoping for."] * 50],
    ],
    ids=["none", "no words", "another language", "two languages"],
)
def test_a_language_that_is_not_clear_is_not_guessed(texts: list[str]) -> None:
    with pytest.raises(DataError, match="language: auto finds no language"):
        find_language(texts)
