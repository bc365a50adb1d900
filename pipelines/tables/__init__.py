"""One reader for every file of rows: CSV, TSV, JSONL, JSON, Parquet, Excel and plain lines.

`reading.open_table` says what a file is and reads it batch by batch; `results.ResultWriter` writes
rows back as they came, with the verdicts added. What a file may look like is decided here and
nowhere else, so that training, evaluation and the page read the same rows.

Which library does what, after trying them on the files of ``tests/unit/tables``:

- The records of CSV are found by `records`, compiled here. Polars and the `csv` module join all
  rows behind a quote that is never closed into one; Polars knows no CR line ends; DuckDB, with its
  table of rejects, reads such a row as text or not at all, depending on what its sniffer thought
  of the whole file, and its rejects stay empty. None of them can go on at the next line and say
  which one was broken, and that is what people need. The columns are handed to Polars by
  nanoarrow without a further copy.
- Separators and headers are guessed by `dialects` with the same scanner. clevercsv's sniffer
  takes seconds for a megabyte, and gave up the quotes of files with a single broken one.
- Encodings are UTF-8, its relatives with a byte order mark, or Windows-1252, line by line.
  charset-normalizer took Windows-1252 for cp852, and for cp1250; it is asked for a suggestion only,
  where a file is surely not Western European.
- Parquet is read by Polars, Excel by calamine, JSON by msgspec, Zstandard by backports.zstd.
"""
