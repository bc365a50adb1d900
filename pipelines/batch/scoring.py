"""Score files of any size: read, judge and write in three threads, and go on after a kill."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from pipelines.batch.outputs import Output, open_output
from pipelines.batch.rejects import Rejects, write_list
from pipelines.batch.sources import Source, find_sources
from pipelines.batch.stores import is_url
from pipelines.batch.targets import Target
from pipelines.batch.unfinished import Plan, State, Unfinished, read_state, write_state
from pipelines.batch.verdicts import WORDS, added_columns, judge_column
from pipelines.errors import DataError
from pipelines.files import explained
from pipelines.tables.ahead import ahead
from pipelines.tables.findings import quoted_names
from pipelines.tables.options import Options
from pipelines.tables.reading import open_table
from pipelines.tables.results import ResultWriter
from pipelines.tables.table import Batch, Table
from pipelines.text.showing import in_one_line

if TYPE_CHECKING:
    import polars as pl

    from pipelines.inference.scorer import Scorer

FILE: Final = "file"
"""The column with the source of a row, where several go into one file."""
_KEPT_ROWS: Final = 100_000
_KEPT_SECONDS: Final = 10.0
"""After so many rows, or so much time, a run can go on from where it is."""
_SAMPLE: Final = ("a lovely film", "cold food and a rude waiter", "it is what it is")
"""Texts by whose probabilities a model is recognised."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be scored, and where it goes.

    Attributes
    ----------
    data : str
        Path, glob or URL, as for `find_sources`.
    output : str
        As for `Target`.
    text_column : str or None
        By name or number; None: found in each file.
    options : Options
        What the user says about the files.
    kind : str or None
        What files in a folder become, one of `tables.results.KINDS`; None: they stay what they are.
    words : int
        How many of the strongest words to add to each row.
    harmless : bool
        Whether cells that a spreadsheet would run are made harmless.
    rejects : str or None
        Path or URL of a list of the rows that cannot be read.
    """

    data: str
    output: str
    text_column: str | None = None
    options: Options = Options()
    kind: str | None = None
    words: int = 0
    harmless: bool = False
    rejects: str | None = None


OnProgress = Callable[[int, float], None]
"""Told the rows that were judged, and the share of the input that is done, 0 to 1."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run.

    Attributes
    ----------
    model : str
    files : list of str
        What was written.
    rows : dict of str to int
        Rows by prediction; of rows without a text under ``""``.
    left_out : int
        Rows that could not be read.
    data : list of str
        What each file was found to be.
    warnings : list of str
        What is odd about them.
    """

    model: str
    files: list[str]
    rows: dict[str, int]
    left_out: int
    data: list[str]
    warnings: list[str]


class _Piece(NamedTuple):
    """Some rows on their way through the threads; without any, the end of their source."""

    writer: ResultWriter
    source: Source
    share: float
    batch: Batch | None = None
    texts: pl.Series | None = None
    added: pl.DataFrame | None = None


class ScoringRun:
    """One call of `olens predict --data --output`.

    Parameters
    ----------
    scorer : Scorer
    model : str
        Its ID.
    job : Job
    user_cache : Path
        Where unfinished output for a bucket is kept.

    Raises
    ------
    DataError
        If there is no input, or `job.output` cannot be one.
    StorageError
        If a bucket cannot be reached.
    """

    def __init__(self, scorer: Scorer, model: str, job: Job, user_cache: Path) -> None:
        self._scorer, self._model, self._job = scorer, model, job
        self._target = Target(job.output)
        self._target.check()
        if job.kind and not self._target.is_folder:
            raise DataError("--format goes with a folder as --output; the name of a file says it.")
        self._rejects = Target(job.rejects) if job.rejects else None
        if self._rejects and self._rejects.kind not in ("CSV", "JSONL", None):
            raise DataError("--rejects: the list is a .csv or .jsonl file.")
        self._sources = self._find_sources()
        self._outputs = self._plan_outputs()
        self._unfinished = Unfinished(self._target.work_folder(user_cache))
        self._report = Report(model=model, files=[], rows={}, left_out=0, data=[], warnings=[])
        self._judged_rows = 0

    def _find_sources(self) -> list[Source]:
        """The files that are read; what earlier runs have written among them is none of them."""
        found = find_sources(self._job.data)
        written = [target for target in (self._target, self._rejects) if target]
        if len(found) > 1 or self._target.is_folder:
            found = [each for each in found if not any(t.contains(each.name) for t in written)]
        if not found:
            raise DataError(f"{in_one_line(self._job.data)}: every file is --output or below it.")
        return found

    @property
    def can_go_on(self) -> bool:
        """Whether a run was begun that is not finished."""
        return self._unfinished.exists

    def run(
        self, *, resume: bool, overwrite: bool, on_progress: OnProgress | None = None
    ) -> Report:
        """Score everything.

        Parameters
        ----------
        resume : bool
            Whether to go on where an earlier run was stopped. If none was, begin.
        overwrite : bool
            Whether output that is there already is replaced.
        on_progress : callable, optional

        Raises
        ------
        DataError
            If a file cannot be read, output is there already, or the unfinished run was another.
        StorageError
            If the disk is full, a file cannot be written, or a bucket does not answer.
        """
        self._on_progress = on_progress or (lambda rows, share: None)
        goes_on = resume and self.can_go_on
        if not goes_on:
            taken = self._taken()
            if resume and len(taken) == len(self._outputs) and not overwrite:
                self._report.warnings.append(
                    f"{in_one_line(self._job.output, 200)} is complete, so nothing was done. To "
                    "make it again: --overwrite"
                )
                return self._report
            if not overwrite:
                self._check_free(taken)
            self._check_sources()
        with explained(self._unfinished.folder), self._unfinished.hold():
            if goes_on:
                self._unfinished.check(self._plan())
            else:
                self._unfinished.begin(self._plan())
            try:
                self._write_outputs()
            except DataError:  # a file that is mended is another one: nothing can go on
                self._unfinished.remove()
                raise
            self._unfinished.remove()
        return self._report

    def _write_outputs(self) -> None:
        folders = [self._unfinished.part(number) for number in range(len(self._outputs))]
        for (name, sources), folder in zip(self._outputs.items(), folders, strict=True):
            self._write(name, sources, folder)
        if self._rejects is not None:
            complete = self._unfinished.folder / "rejects"
            write_list(complete, folders, self._rejects.name)
            self._rejects.put(complete, "")

    def _plan_outputs(self) -> dict[str, list[Source]]:
        """The sources of each output, by its name below the target."""
        if not self._target.is_folder:
            return {"": self._sources}
        outputs: dict[str, list[Source]] = {}
        for source in self._sources:
            name = self._target.file_for(source.relative, self._job.kind)
            # Two files that differ in their ending only.
            outputs[f"{source.relative}{Path(name).suffix}" if name in outputs else name] = [source]
        return outputs

    def _plan(self) -> Plan:
        job = self._job
        options = job.options
        return {
            "--data": [[s.name, s.size, s.version] for s in self._sources],
            "--model": [self._model, self._scorer.predict(list(_SAMPLE))[1].tolist()],
            "--text-column": job.text_column,
            "--encoding": options.encoding,
            "--separator": options.separator,
            "--header": options.header,
            "--sheet": options.sheet,
            "--format": job.kind,
            "--explain": job.words,
            "--harmless": job.harmless,
        }

    def _taken(self) -> list[str]:
        """The outputs that are there already."""
        return [self._target.place_of(name) for name in self._outputs if self._target.has(name)]

    def _check_free(self, taken: list[str]) -> None:
        """Refuse to write over files, or to give up what an unfinished run has done."""
        if self.can_go_on:
            raise DataError(
                f"{self._job.output}: an earlier run was stopped before its end. Go on with it by "
                "--resume, or start again with --overwrite."
            )
        if self._rejects and self._rejects.has(""):
            taken = [*taken, self._rejects.name]
        if taken:
            raise DataError(
                f"{in_one_line(taken[0], 200)} is there already"
                f"{f', and {len(taken) - 1:,} more' if len(taken) > 1 else ''}. Replace it with "
                "--overwrite, or choose another name."
            )

    def _check_sources(self) -> None:
        """Raise a `DataError` at once for a file on this machine that cannot be read."""
        columns: list[str] = []
        for source in self._sources:
            if is_url(source.name):  # to copy each of them twice would take too long
                continue
            table = open_table(Path(source.name), source.name, self._job.options)
            table.text_column(self._job.text_column)
            columns = columns or table.columns
            self._check_columns(columns, table.columns, source)

    def _check_columns(self, before: list[str], columns: list[str], source: Source) -> None:
        """Raise a `DataError` if a source does not fit into the file of those before."""
        if self._target.is_folder or self._target.kind in ("JSON", "JSONL") or columns == before:
            return
        raise DataError(
            f"{source.name} has other columns ({quoted_names(columns)}) than the files before it "
            f"({quoted_names(before)}), so they do not go into one file. Let --output be a folder."
        )

    # One output

    def _write(self, name: str, sources: Sequence[Source], folder: Path) -> None:
        state = read_state(folder)
        complete = folder / "rows"
        if state.complete and not (complete.exists() or self._target.has(name)):
            state = State()  # what was written has been deleted since
        if not state.complete:
            complete = self._fill(sources, folder, state)
            state.complete = True
            write_state(folder, state)
        if complete.exists():  # else a killed run had moved it already
            self._target.put(complete, name)
            complete.unlink(missing_ok=True)
        self._report.files.append(self._target.place_of(name))
        total = Counter(self._report.rows) + Counter(state.counts)
        self._report = msgspec.structs.replace(
            self._report, rows=dict(total), left_out=self._report.left_out + state.left_out
        )

    def _fill(self, sources: Sequence[Source], folder: Path, state: State) -> Path:
        """Write all rows that are missing; returns the complete file."""
        rejects = Rejects(folder, state.rejects)
        output: Output | None = None
        begun = state.source, state.row
        kept_at, unkept = time.monotonic(), 0
        with closing(ahead(self._judge(ahead(self._read(sources, *begun))))) as pieces:
            for piece in pieces:
                state.columns = state.columns or piece.writer.columns
                self._check_columns(state.columns, piece.writer.columns, piece.source)
                output = output or open_output(folder, piece.writer, state, self._target.packing)
                if piece.batch is None:
                    state.source, state.row = state.source + 1, 0
                    continue
                unkept += self._add(piece, output, rejects, state)
                self._on_progress(self._judged_rows, piece.share)
                if unkept >= _KEPT_ROWS or time.monotonic() > kept_at + _KEPT_SECONDS:
                    _keep(folder, output, rejects, state)
                    kept_at, unkept = time.monotonic(), 0
        if output is None:  # every row was there already
            output = open_output(folder, self._writer_of(sources), state, self._target.packing)
        _keep(folder, output, rejects, state)
        return output.finish()

    def _add(self, piece: _Piece, output: Output, rejects: Rejects, state: State) -> int:
        """Take the rows of a piece into the output; returns how many they are."""
        batch, added = piece.batch, piece.added
        assert batch is not None
        assert added is not None
        output.write(batch, added)
        rejects.add(piece.source.name, batch.left_out)
        counts = Counter(added["prediction"].fill_null("").to_list())
        state.counts = dict(Counter(state.counts) + counts)
        state.left_out += len(batch.left_out)
        state.row = _last_row(batch)
        self._judged_rows += added.height
        return added.height

    def _judge(self, pieces: Iterator[_Piece]) -> Generator[_Piece, None, None]:
        for piece in pieces:
            if piece.texts is None:
                yield piece
                continue
            added = judge_column(self._scorer, piece.texts, self._model, self._job.words)
            if len(self._sources) > 1 and not self._target.is_folder:
                import polars as pl

                added = added.with_columns(pl.lit(piece.source.relative).alias(FILE))
            yield piece._replace(added=added)

    def _read(
        self, sources: Sequence[Source], begin: int, row: int
    ) -> Generator[_Piece, None, None]:
        """The rows behind the row `row` of the source number `begin`."""
        for number in range(begin, len(sources)):
            source = sources[number]
            with source.local() as path:
                table = open_table(path, source.name, self._job.options)
                column = table.text_column(self._job.text_column)
                writer = self._writer(table)
                typed = table.kind == "Parquet"
                as_it_is = typed or {table.kind, writer.kind} <= {"JSON", "JSONL"}
                wanted = [column] if as_it_is else None
                for batch in table.batches(wanted, typed=typed):
                    if number == begin and _last_row(batch) > row:
                        batch = batch.after(row)
                    elif number == begin:
                        continue
                    share = self._share(source, table.share_read)
                    yield _Piece(writer, source, share, batch, batch.frame[column])
                self._describe(table, column, writer)
                yield _Piece(writer, source, self._share(source, 1.0))

    def _writer(self, table: Table) -> ResultWriter:
        """What writes rows as those of `table`; it must not have been read since."""
        job, target = self._job, self._target
        kind = job.kind if target.is_folder else target.kind
        alone = target.is_folder or len(self._sources) == 1
        if kind == table.kind and alone:
            kind = None
        if kind is None or table.kind in ("JSON", "JSONL"):
            table.look_through()
        added = [
            *added_columns(self._scorer.classes),
            *([WORDS] if job.words else []),
            *([] if alone else [FILE]),
        ]
        return ResultWriter(table, added, harmless=job.harmless, kind=kind)

    def _writer_of(self, sources: Sequence[Source]) -> ResultWriter:
        with sources[0].local() as path:
            return self._writer(open_table(path, sources[0].name, self._job.options))

    def _share(self, source: Source, share: float) -> float:
        """How much of all input has been read, when it is `share` of a source."""
        sizes = [each.size for each in self._sources]
        at = self._sources.index(source)
        return min(1.0, (sum(sizes[:at]) + share * source.size) / max(1, sum(sizes)))

    def _describe(self, table: Table, column: str, writer: ResultWriter) -> None:
        self._report.data.append(f"{table.describe()} Texts: column {column}")
        self._report.warnings.extend([*writer.messages, *table.messages()])


def _keep(folder: Path, output: Output, rejects: Rejects, state: State) -> None:
    """Make it so that a killed run goes on from here."""
    output.keep(state)
    state.rejects = rejects.sync()
    write_state(folder, state)


def _last_row(batch: Batch) -> int:
    rows = int(batch.rows[-1]) if len(batch.rows) else 0
    return max([rows, *(found.row for found in batch.left_out[-1:])])
