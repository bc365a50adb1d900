"""Small files of every dialect, encoding and quirk, with what is to be read from each.

`write_cases` puts them into a folder, for trying another reader on them.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from pipelines.tables.containers import zstd
from tests.unit.tables.archives import tar_archive, workbook, zip_archive

TEXTS: Final = ("I love it, really", "I hate it", "It is fine by me")
LABELS: Final = ("positive", "negative", "positive")


class Case(NamedTuple):
    """A file, and what is to come of it."""

    name: str
    content: bytes
    texts: tuple[str | None, ...] = TEXTS
    """The texts of the rows that can be read; None where there is none."""
    lost: tuple[int, ...] = ()
    """Lines of the rows that cannot be read."""
    refused: str = ""
    """Part of the message with which the file is refused."""
    said: str = ""
    """Part of what is said about the file."""


def cases() -> list[Case]:
    """All of them; no two of the same name."""
    return [
        *_dialects(),
        *_quotes(),
        *_line_ends(),
        *_encodings(),
        *_headers(),
        *_json(),
        *_compressed(),
        *_binary(),
        *_foreign(),
        *_large(),
    ]


def write_cases(folder: Path) -> None:
    """Write every file into a folder of its own, since names say what files are."""
    for number, case in enumerate(cases()):
        place = folder / f"{number:03}"
        place.mkdir(parents=True)
        (place / case.name).write_bytes(case.content)


def _rows(separator: str = ",", end: str = "\n", *, header: bool = True) -> str:
    """The usual rows; texts stand in quotes only where they must."""
    lines = ["text" + separator + "label"] if header else []
    for text, label in zip(TEXTS, LABELS, strict=True):
        lines.append((f'"{text}"' if separator in text else text) + separator + label)
    return end.join(lines) + end


def _dialects() -> list[Case]:
    plain = [
        Case("comma.csv", _rows().encode(), said="separated by commas"),
        Case("semicolon.csv", _rows(";").encode(), said="separated by semicolons"),
        Case("tab.csv", _rows("\t").encode(), said="separated by tabs"),
        Case("tab.tsv", _rows("\t").encode(), said="TSV"),
        Case("bar.csv", _rows("|").encode(), said="separated by vertical bars"),
        Case("comma.tsv", _rows().encode(), said="separated by commas"),
        Case("comma", _rows().encode()),
        Case("UPPER.CSV", _rows().encode()),
        Case("columns.txt", _rows("\t").encode(), said="TSV"),
        Case("semicolon.txt", _rows(";").encode()),
    ]
    return [
        *plain,
        Case("excel_hint.csv", b"sep=;\r\n" + _rows(";", "\r\n").encode()),
        Case(
            "spaces_before_quotes.csv",
            b'label, text\npositive, "I love it, really"\n'
            b'negative, "I hate it"\npositive, "It is fine by me"\n',
        ),
        Case(
            "spaces_after_quotes.csv",
            b'text,label\n"I love it, really" ,positive\n'
            b'"I hate it" ,negative\nIt is fine by me,positive\n',
        ),
        Case(
            "semicolons_with_commas.csv",
            b"text;price\nI love it, really;3,50\nI hate it;4,00\nIt is fine by me;1,20\n",
        ),
        Case("trailing_separators.csv", _rows().replace("\n", ",,\n").encode()),
        Case("one_column.csv", b"text\n" + "\n".join(TEXTS).encode(), said="UTF-8"),
        Case(
            "one_column_quoted.csv",
            b'"text"\n"I love it, really"\n"I hate it"\n"It is fine by me"\n',
        ),
        Case("lines.txt", "\n".join(TEXTS).encode(), said="text, UTF-8"),
        Case(
            "lines_with_quotes.txt",
            b'"So good\n15" of snow\nfine "really"\n',
            ('"So good', '15" of snow', 'fine "really"'),
        ),
        Case(
            "single_quotes.csv",
            b"'text','label'\n'I love it, really','positive'\n"
            b"'I hate it','negative'\n'It is fine by me','positive'\n",
        ),
        Case(
            "apostrophes.csv",
            b"text,label\n'tis fine by me,positive\nI don't,negative\n",
            ("'tis fine by me", "I don't"),
        ),
        Case(
            "decimal_commas.csv",
            b"id;stars;text\n1;4,5;It is fine, by me\n2;1,0;I hate it\n",
            ("It is fine, by me", "I hate it"),
        ),
    ]


def _quotes() -> list[Case]:
    many = "\n".join(f"{number},plain row {number}" for number in range(3, 500))
    fine = tuple(f"plain row {number}" for number in range(3, 500))
    return [
        Case(
            "never_closed.csv",
            f'id,text\n1,fine by me\n2,"never closed\n{many}\n'.encode(),
            ("fine by me", *fine),
            (3,),
            said="line 3",
        ),
        Case(
            "best_one.csv",
            f'id,text\n1,fine by me\n2,"the "best" one\n{many}\n'.encode(),
            ("fine by me", *fine),
            (3,),
            said="line 3",
        ),
        Case(
            "never_closed_last.csv",
            b'id,text\n1,fine by me\n2,"never closed\n',
            ("fine by me",),
            (3,),
            said="line 3",
        ),
        Case(
            "broken_among_quoted.csv",
            b'id,text\n1,"fine, by me"\n2,"never closed\n3,"good, too"\n',
            ("fine, by me", "good, too"),
            (3,),
            said="line 3",
        ),
        Case(
            "broken_over_lines.csv",
            b'id,text\n1,"one\ntwo says "hi" there\nend"\n2,"good, too"\n3,fine by me\n',
            ("good, too", "fine by me"),
            (2, 3, 4),
        ),
        Case(
            "swallowed_by_inch_mark.csv",
            b'id,text\n1,"never closed\n'
            + many.encode()
            + b'\n500,screen of 15"\n501,fine by me\n',
            (*fine, 'screen of 15"', "fine by me"),
            (2,),
        ),
        Case(
            "inch_mark.csv",
            b'text,label\na 15" screen,positive\nI hate it,negative\n',
            ('a 15" screen', "I hate it"),
        ),
        Case(
            "inch_marks.csv",
            b'text,label\n"a 15"" screen, flat",positive\n5" and 6",negative\n',
            ('a 15" screen, flat', '5" and 6"'),
        ),
        Case(
            "doubled_quotes.csv",
            b'text,label\n"they said ""fine"", really",positive\n"""no""",negative\n',
            ('they said "fine", really', '"no"'),
        ),
        Case(
            "backslash_quotes.csv",
            b'id,text\n1,"he said \\"hi\\", ok"\n2,"back\\\\slash, too"\n3,"fine by me"\n',
            ('he said "hi", ok', "back\\slash, too", "fine by me"),
        ),
        Case(
            "backslash_at_end.csv",
            b'id,text\n1,"folder C:\\"\n2,"fine, by me"\n',
            ("folder C:\\", "fine, by me"),
        ),
        Case(
            "unquoted_tsv.tsv",
            b'text\tlabel\n"Great" they said\t1\n"Bad\t0\n"So" so\t1\nfine by me\t1\n',
            ('"Great" they said', '"Bad', '"So" so', "fine by me"),
            said="quotes are part",
        ),
        Case(
            "quoted_line_ends.csv",
            b'text,label\n"one\ntwo, three\r\nfour",positive\nI hate it,negative\n',
            ("one\ntwo, three\r\nfour", "I hate it"),
        ),
        Case(
            "quoted_poem.csv",
            b'text,label\n"a, b\nc, d\ne f g\nh, i\nj k\nl, m\nn",positive\nI hate it,negative\n',
            ("a, b\nc, d\ne f g\nh, i\nj k\nl, m\nn", "I hate it"),
        ),
        Case(
            "json_in_cell.csv",
            b'meta,text\n"{\n' + b'""a"": 1,\n' * 8 + b'}",I love it\n{},I hate it\n',
            ("I love it", "I hate it"),
        ),
        Case(
            "empty_quotes.csv",
            b'text,label\n"",positive\nI hate it,negative\n""\n',
            (None, "I hate it", None),
        ),
        Case(
            "too_many_fields.csv",
            b"text,label\nI love it, really,positive\nI hate it,negative\n",
            ("I hate it",),
            (2,),
            said="more fields than the 2 columns",
        ),
        Case(
            "too_few_fields.csv",
            b"text,stars,label\nI love it\nI hate it,1,negative\n",
            ("I love it", "I hate it"),
            said="fewer fields",
        ),
    ]


def _line_ends() -> list[Case]:
    mixed = (
        b'text,label\r\n"I love it, really",positive\nI hate it,negative\rIt is fine by me,positive'
    )
    return [
        Case("crlf.csv", _rows(end="\r\n").encode()),
        Case("cr.csv", _rows(end="\r").encode()),
        Case("crcrlf.csv", _rows(end="\r\r\n").encode()),
        Case("mixed.csv", mixed),
        Case("no_last_line_end.csv", _rows().rstrip("\n").encode()),
        Case("blank_lines_before.csv", b"\n\r\n  \n,,\n" + _rows().encode()),
        Case("blank_lines_behind.csv", _rows().encode() + b"\n\n\r\n"),
        Case(
            "blank_lines_between.csv",
            b"text,label\nI love it,positive\n\n\nI hate it,negative\n",
            ("I love it", None, None, "I hate it"),
        ),
        Case("blank_lines.txt", b"\nI love it\n\nI hate it\n\n", ("I love it", None, "I hate it")),
        Case("cr.txt", b"I love it\rI hate it\r", ("I love it", "I hate it")),
        Case(
            "cr.jsonl", b'{"text":"I love it"}\r{"text":"I hate it"}\r', ("I love it", "I hate it")
        ),
        Case(
            "line_separators.csv",
            "text,label\nI\u2028love\u2029it\x0b\x85,positive\n".encode(),
            ("I\u2028love\u2029it\x0b\x85",),
        ),
        Case(
            "nul.csv",
            b"text,label\nI lo\0ve it,positive\nI hate it,negative\n",
            ("I lo\0ve it", "I hate it"),
            said="NUL",
        ),
    ]


def _encodings() -> list[Case]:
    accents = "text,label\nDas Café war schön,positive\n“Nie wieder” – für 5 €,negative\n"
    texts = ("Das Café war schön", "“Nie wieder” – für 5 €")
    latin = "text,label\nDas Café war schön,positive\nnie wieder,negative\n"
    cyrillic = "text,label\nОчень хороший фильм,positive\nУжасный и скучный,negative\n"
    japanese = "text,label\nこの映画は面白い,positive\nつまらない映画だった,negative\n"
    return [
        Case("utf8.csv", accents.encode(), texts, said="UTF-8"),
        Case("utf8_mark.csv", codecs.BOM_UTF8 + accents.encode(), texts, said="byte order mark"),
        Case("two_marks.csv", codecs.BOM_UTF8 * 2 + accents.encode(), texts),
        Case(
            "mark_and_quotes.csv",
            codecs.BOM_UTF8 + b'"text","label"\n"I love it","positive"\n',
            ("I love it",),
        ),
        Case(
            "utf16_le.csv",
            codecs.BOM_UTF16_LE + accents.encode("utf-16-le"),
            texts,
            said="UTF-16-LE",
        ),
        Case(
            "utf16_be.csv",
            codecs.BOM_UTF16_BE + accents.encode("utf-16-be"),
            texts,
            said="UTF-16-BE",
        ),
        Case("utf16_unmarked.csv", accents.encode("utf-16-le"), texts, said="UTF-16-LE"),
        Case("utf16_unmarked_be.csv", accents.encode("utf-16-be"), texts, said="UTF-16-BE"),
        Case("utf16_tabs.txt", accents.replace(",", "\t").encode("utf-16"), texts),
        Case("utf32.csv", accents.encode("utf-32"), texts, said="UTF-32"),
        Case("windows.csv", accents.encode("cp1252"), texts, said="Windows-1252"),
        Case(
            "latin1.csv",
            latin.encode("latin-1"),
            ("Das Café war schön", "nie wieder"),
            said="Windows-1252",
        ),
        Case(
            "windows_unused_byte.csv",
            b"text,label\nca\x81f\xe9 it is,positive\n",
            ("ca\x81fé it is",),
            said="Windows-1252",
        ),
        Case(
            "both.csv",
            accents.encode() + "Ganz schön,positive\n".encode("cp1252"),
            (*texts, "Ganz schön"),
            said="line 4",
        ),
        Case("windows.txt", "für 5 €\nnie wieder\n".encode("cp1252"), ("für 5 €", "nie wieder")),
        Case("windows.jsonl", '{"text": "für 5 €"}\n'.encode("cp1252"), ("für 5 €",)),
        Case("mark.jsonl", codecs.BOM_UTF8 + b'{"text": "I love it"}\n', ("I love it",)),
        Case("utf16.jsonl", '{"text": "für 5 €"}\n'.encode("utf-16"), ("für 5 €",)),
        Case("cyrillic.csv", cyrillic.encode("cp1251"), refused="cp1251"),
        Case("japanese.csv", japanese.encode("shift_jis"), refused="beyond ASCII"),
        Case("japanese_utf8.csv", japanese.encode(), ("この映画は面白い", "つまらない映画だった")),
    ]


def _headers() -> list[Case]:
    return [
        Case(
            "no_header.csv",
            b'4,"I love it"\n0,"I hate it"\n',
            ("I love it", "I hate it"),
            said="without a header",
        ),
        Case(
            "no_header_words.csv",
            b"positive,I love it\nnegative,I hate it\npositive,It is fine\n",
            ("I love it", "I hate it", "It is fine"),
            said="without a header",
        ),
        Case(
            "no_header_sentence.csv",
            b"I love this film so much.,yes\nI hate it.,no\n",
            ("I love this film so much.", "I hate it."),
            said="without a header",
        ),
        Case("no_header_tab.tsv", b"1\tI love it\n0\tI hate it\n", ("I love it", "I hate it")),
        Case(
            "survey.csv",
            b"Timestamp,What did you like about your stay with us?\n"
            b"2024-01-02,I love it\n2024-01-03,I hate it\n",
            ("I love it", "I hate it"),
            said="What did you like",
        ),
        Case(
            "header_repeated.csv",
            b"text,label\nI love it,positive\ntext,label\nI hate it,negative\n",
            ("I love it", "I hate it"),
            (3,),
            said="repeats the header",
        ),
        Case(
            "two_of_a_name.csv",
            b"id,text,text\n1,I love it,x\n2,I hate it,y\n",
            ("I love it", "I hate it"),
            said="2 columns are called 'text'",
        ),
        Case(
            "no_name.csv",
            b",text,\n0,I love it,1\n1,I hate it,2\n",
            ("I love it", "I hate it"),
            said="column_1",
        ),
        Case(
            "other_name.csv",
            b"sku,what they said\nA1,I love it\nA2,I hate it\n",
            ("I love it", "I hate it"),
        ),
        Case("no_words.csv", b"sku,price\nAB-1,3.50\nAB-2,4.00\n", refused="no column of words"),
        Case(
            "numbers_called_text.csv",
            b"text,price\n123,3.50\n456,4.00\n",
            refused="no column of words",
        ),
        Case("header_only.csv", b"text,label\n", ()),
        Case(
            "titles_above.csv",
            b"Export of May,,\nShop: Berlin,,\n\nid,text,label\n1,I love it,1\n2,I hate it,0\n",
            ("I love it", "I hate it"),
            said="left out: 3 lines above the header",
        ),
        Case(
            "comments_above.csv",
            b'# exported, by the shop\n# rows: 2\ntext,label\n"I love it, really",1\nI hate it,0\n',
            ("I love it, really", "I hate it"),
            said="left out: 2 lines above the header",
        ),
        Case(
            "hashtags.txt",
            b"#lovely, really\ntext,label\nI hate it\n",
            ("#lovely, really", "text,label", "I hate it"),
        ),
        Case("name_of_two_lines.csv", b'"Review\ntext",label\nI love it,1\n', ("I love it",)),
        Case(
            "pandas.csv",
            b",0,1\n0,I love it really,positive\n1,I hate it all,negative\n",
            ("I love it really", "I hate it all"),
        ),
        Case("one_line.csv", b"I love it", ("I love it",)),
        Case("one_column_of_texts.csv", b"I love it\nI hate it\n", ("I love it", "I hate it")),
        Case(
            "fasttext.csv",
            b"__label__2,I love it\n__label__1,I hate it\n",
            ("I love it", "I hate it"),
            said="without a header",
        ),
        Case(
            "stars_without_header.csv",
            b"5 stars,I love it\n1 star,I hate it\n",
            ("I love it", "I hate it"),
        ),
        Case("blank.csv", b" \n\n", refused="no rows"),
        Case("empty.csv", b"", refused="is empty"),
        Case(
            "too_many_columns.csv", b"," * 100_000 + b"\n1,2\n" * 1_000, refused="100,001 columns"
        ),
        Case(
            "long_names.csv",
            b"text," + b"n" * 60_000 + b"\nI love it,1\n",
            ("I love it",),
            said="nnn…",
        ),
    ]


def _json() -> list[Case]:
    objects = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    lines = "".join(json.dumps(row) + "\n" for row in objects).encode()
    return [
        Case("plain.jsonl", lines, said="JSONL"),
        Case("plain.ndjson", lines),
        Case("lines.json", lines, said="JSONL"),
        Case("array.json", json.dumps(objects).encode(), said="JSON, UTF-8"),
        Case("array_indented.json", json.dumps(objects, indent=2).encode()),
        Case("array.jsonl", json.dumps(objects).encode()),
        Case("json.csv", lines, said="although its name ends in .csv"),
        Case("array.csv", json.dumps(objects).encode(), said="although its name ends in .csv"),
        Case("strings.jsonl", b'"I love it"\n"I hate it"\n', ("I love it", "I hate it")),
        Case("strings.json", b'["I love it", "I hate it"]', ("I love it", "I hate it")),
        Case("lists.jsonl", b'["I love it", 1]\n["I hate it", 0]\n', ("I love it", "I hate it")),
        Case(
            "broken_line.jsonl",
            b'{"text": "I love it"}\n{"text": "I\n\n{"text": "I hate it"}\n',
            ("I love it", "I hate it"),
            (2,),
            said="not valid JSON (line 2)",
        ),
        Case(
            "other_kind.jsonl",
            b'{"text": "I love it"}\n"loose"\n{"text": "I hate it"}\n',
            ("I love it", "I hate it"),
            (2,),
        ),
        Case(
            "not_a_number.jsonl",
            b'{"text": "I love it", "n": NaN}\n{"text": null}\n',
            ("I love it", None),
        ),
        Case("half_a_pair.jsonl", rb'{"text": "I love \ud800 it"}' + b"\n", ("I love \ufffd it",)),
        Case(
            "nested.jsonl",
            b'{"text": "I love it"}\n{"text": ["a"]}\n',
            ("I love it", None),
            said="a list or an object as 'text'",
        ),
        Case("array_cut.json", json.dumps(objects).encode()[:-5], refused="line 1"),
        Case(
            "object.json",
            json.dumps({"rows": objects}, indent=1).encode(),
            refused="one JSON object",
        ),
        Case("object_in_a_line.json", json.dumps({"rows": objects}).encode(), refused="one JSON"),
        Case("columns.json", json.dumps({"text": TEXTS}).encode(), refused="one JSON object"),
        Case(
            "bracket.csv",
            b"text,label\n[sic] I love it,positive\nI hate it,negative\n",
            ("[sic] I love it", "I hate it"),
        ),
        Case(
            "bracket.txt", b"[Verse 1] I love it\nI hate it\n", ("[Verse 1] I love it", "I hate it")
        ),
    ]


def _compressed() -> list[Case]:
    plain = _rows().encode()
    lines = b'{"text": "I love it"}\n'
    return [
        Case("packed.csv.gz", gzip.compress(plain), said="in gzip"),
        Case("packed.csv.zst", zstd.compress(plain), said="in Zstandard"),
        Case("packed.csv.zip", zip_archive(("inside.csv", plain)), said="in zip"),
        Case("packed.zip", zip_archive(("inside.csv", plain), ("__MACOSX/._inside.csv", b"x"))),
        Case("packed.jsonl.gz", gzip.compress(lines), ("I love it",)),
        Case("packed.json.zip", zip_archive(("inside.jsonl", lines)), ("I love it",)),
        Case("gzip.csv", gzip.compress(plain), said="in gzip"),
        Case("zip.csv", zip_archive(("inside.tsv", _rows("\t").encode())), said="in zip"),
        Case("two.gz", gzip.compress(plain[:30]) + gzip.compress(plain[30:])),
        Case("cut.csv.gz", gzip.compress(plain * 500)[:-9], refused="not a complete gzip"),
        Case("cut.csv.zst", zstd.compress(plain)[:-9], refused="not a complete Zstandard"),
        Case("cut.csv.zip", zip_archive(("inside.csv", plain))[:-30], refused="not a complete zip"),
        Case(
            "two.zip",
            zip_archive(("a.csv", plain), ("b.csv", plain)),
            refused="2 files: a.csv, b.csv",
        ),
        Case("twice.csv.gz", gzip.compress(gzip.compress(plain)), refused="compressed twice"),
        Case("nothing.csv.gz", gzip.compress(b""), refused="empty"),
    ]


def _binary() -> list[Case]:
    frame = pl.DataFrame({"text": TEXTS, "label": LABELS, "list": [[1], [2], [3]]})
    parquet, numbers, labels = io.BytesIO(), io.BytesIO(), io.BytesIO()
    frame.write_parquet(parquet)
    pl.DataFrame({"text": [1, 2]}).write_parquet(numbers)
    pl.DataFrame({"review": [{"body": "good"}], "label": ["positive"]}).write_parquet(labels)
    rows = [("text", "label"), *zip(TEXTS, LABELS, strict=True)]
    book = workbook(*rows)
    return [
        Case("plain.parquet", parquet.getvalue(), said="Parquet"),
        Case("parquet.csv", parquet.getvalue(), said="although its name ends in .csv"),
        Case("packed.parquet.gz", gzip.compress(parquet.getvalue())),
        Case("cut.parquet", parquet.getvalue()[:-20], refused="not a Parquet file"),
        Case("numbers.parquet", numbers.getvalue(), refused="no column of words"),
        Case("labels.parquet", labels.getvalue(), refused="no column of words"),
        Case("csv.parquet", _rows().encode(), said="although its name ends in .parquet"),
        Case("plain.xlsx", book, said="Excel"),
        Case("xlsx.csv", book, said="although its name ends in .csv"),
        Case("rows_above.xlsx", workbook(*rows, first=5)),
        Case(
            "blank_row.xlsx",
            workbook(("text",), ("I love it",), (), ("I hate it",)),
            ("I love it", None, "I hate it"),
        ),
        Case(
            "no_header.xlsx",
            workbook((4, "I love it"), (0, "I hate it")),
            ("I love it", "I hate it"),
            said="without a header",
        ),
        Case("cut.xlsx", book[:-40], refused="not a complete zip"),
        Case("csv.xlsx", _rows().encode(), said="although its name ends in .xlsx"),
        Case("far_cell.xlsx", workbook(("text",), ("I love it",), far=True), refused="too much"),
    ]


def _foreign() -> list[Case]:
    return [
        Case("pdf.csv", b"%PDF-1.7\n1 0 obj\n", refused="is a PDF file"),
        Case(
            "html.csv", b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", refused="HTML page"
        ),
        Case(
            "html.xls", b"\n<html><table><tr><td>text</td></tr></table></html>", refused="HTML page"
        ),
        Case("xml.csv", b'<?xml version="1.0"?><rows/>', refused="XML file"),
        Case("old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), refused="old Excel"),
        Case(
            "word.csv",
            zip_archive(("[Content_Types].xml", b"x"), ("word/document.xml", b"x")),
            refused="a Word document",
        ),
        Case("program.csv", b"MZ\x90\0\3\0\0\0" + bytes(90), refused="is a program"),
        Case("binary.csv", bytes(range(32)) * 9 + b"text" * 20, refused="binary data"),
        Case("array.npy", b"\x93NUMPY\1\0v\0{'descr': '<f8'}", refused="a NumPy array"),
        Case("tar.csv", tar_archive("inside.csv", _rows().encode()), refused="a tar archive"),
        Case(
            "packed.tgz",
            gzip.compress(tar_archive("inside.csv", _rows().encode())),
            refused="a tar archive",
        ),
        Case("image.csv", b"\x89PNG\r\n\x1a\n" + bytes(50), refused="PNG image"),
        Case("database.csv", b"SQLite format 3\0" + bytes(50), refused="SQLite database"),
        Case("xz.csv", b"\xfd7zXZ\x00" + bytes(50), refused="an xz file"),
    ]


def _large() -> list[Case]:
    return [
        Case(
            "long_field.csv",
            b'text,label\n"' + b"so good, " * 400_000 + b'",positive\nI hate it,negative\n',
            ("so good, " * 400_000, "I hate it"),
        ),
        Case(
            "long_line.txt",
            b"so good " * 400_000 + b"\nI hate it\n",
            ("so good " * 400_000, "I hate it"),
        ),
        Case(
            "long_value.jsonl",
            json.dumps({"text": "so good " * 400_000}).encode() + b"\n",
            ("so good " * 400_000,),
        ),
    ]
