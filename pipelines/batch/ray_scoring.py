"""Score files on a Ray cluster, as a pipeline of Ray Data that ends in a folder of parts.

Tasks read the sources and hand their rows on as Arrow tables. Actors judge them; the weights of the
model lie in Ray's object store, which maps them into memory once a node. An actor writes what it
has judged as a part: a file named after the source and the number of its first row there.

What a lost node had to do, Ray gives to others. A part that is made twice has the same name, so no
row is there twice; in the end the rows that were read are compared with those that were written.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

import msgspec

from pipelines.batch.rejects import Rejects, write_list
from pipelines.batch.scoring import Job, OnProgress, Report, ScoringRun
from pipelines.batch.sources import Source
from pipelines.batch.stores import is_url
from pipelines.batch.targets import Target
from pipelines.batch.verdicts import WORDS, added_columns, judge_column
from pipelines.errors import ClusterError, DataError
from pipelines.ray_cluster import is_client, ray_cluster
from pipelines.tables.findings import LeftOut
from pipelines.tables.reading import open_table
from pipelines.tables.results import ResultWriter
from pipelines.tables.table import Batch
from pipelines.text.showing import in_one_line

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    from ray import ObjectRef

    from pipelines.inference.scorer import Scorer

DONE: Final = "_SUCCESS"
"""The file with the report that is written when all parts are there; other tools know the name."""
_PART: Final = re.compile(r"-\d{12}\.(parquet|csv|jsonl)$")
_ROW: Final = "olens.row"
_RECORD: Final = "olens.record"
_ORIGIN: Final = "olens.origin"
_BLOCK: Final = 32 << 20
"""Bytes of rows in a part, about: 200,000 rows of a review's first sentence."""
_READING: Final = 0.25
_JUDGING: Final = 0.75
"""CPUs that Ray counts for a task and an actor: both fit on every one, so neither can starve."""


class End(msgspec.Struct, frozen=True):
    """What is known at the end of a source."""

    rows: int
    """How many rows were handed on."""
    description: str
    messages: list[str]


class Found(msgspec.Struct, frozen=True):
    """What reading some rows of a source came to."""

    number: int
    """Counts the batches of the source."""
    share: float
    """How much of the source had been read."""
    left_out: list[LeftOut]
    end: End | None = None


class Origin(msgspec.Struct, frozen=True):
    """Where some rows come from, as they carry it with them."""

    source: int
    output: str
    """What the source's output is called, without the numbers of the parts."""
    text: str
    """The column with the texts."""
    kind: str
    columns: list[str]
    header: list[str] | None
    found: Found


class Part(msgspec.Struct, frozen=True):
    """What an actor has made of one block of rows."""

    source: int
    name: str | None
    """Of the file; None if there were no rows."""
    rows: dict[str, int]
    """By prediction; of rows without a text under ``""``."""
    found: list[Found]


class RayScoringRun(ScoringRun):
    """As `ScoringRun`, on a Ray cluster.

    The output is a folder of parts, Parquet unless `Job.kind` says otherwise. Every node must reach
    the data and the output under the same path or URL.

    Parameters
    ----------
    address : str or None
        As for `ray_cluster`.
    """

    def __init__(
        self, scorer: Scorer, model: str, job: Job, user_cache: Path, address: str | None = None
    ) -> None:
        if not Target(job.output).is_folder:
            raise DataError(
                f"{in_one_line(job.output, 200)}: --engine ray writes a folder of parts. Let the "
                "name end in a slash; --format says what they are."
            )
        if is_client(address):
            raise ClusterError(
                f"{address or 'RAY_ADDRESS'}: Ray Data does not work through ray://. Give the "
                "command on a machine of the cluster, with --address HOST:6379 or auto."
            )
        everywhere = msgspec.structs.replace(
            job,
            data=_everywhere(job.data),
            output=f"{_everywhere(job.output).rstrip('/')}/",
            kind=job.kind or "Parquet",
        )
        super().__init__(scorer, model, everywhere, user_cache)
        self._address = address
        self._ends: dict[int, End] = {}
        self._shares = dict.fromkeys(range(len(self._sources)), 0.0)
        self._arrived: Counter[int] = Counter()
        self._found: set[tuple[int, int]] = set()
        self._left_out: list[tuple[int, LeftOut]] = []
        self._parts: set[str] = set()

    @property
    def can_go_on(self) -> bool:
        """Never: what Ray cannot mend begins again."""
        return False

    def run(
        self, *, resume: bool, overwrite: bool, on_progress: OnProgress | None = None
    ) -> Report:
        """Score everything; see `ScoringRun.run`.

        Raises
        ------
        ClusterError
            If the cluster cannot be reached, or rows were lost in it.
        """
        if resume:
            raise DataError(
                "--resume is not for --engine ray, which repeats what a lost node has done. If the "
                "command itself was stopped, start again with --overwrite."
            )
        on_progress = on_progress or (lambda rows, share: None)
        there = self._parts_there()
        if not overwrite:
            self._check_free([self._target.place_of(name) for name in there])
        self._check_sources()
        self._target.delete([*there, DONE])
        with ray_cluster(self._address) as cpus:
            for part in self._judged_parts(cpus):
                self._take(part)
                on_progress(self._arrived.total(), self._share_done())
        self._check_arrived()
        # Left by a task that Ray has run again, if it cut the rows at other places then.
        self._target.delete([name for name in self._parts_there() if name not in self._parts])
        self._write_rejects()
        self._write_done()
        return self._report

    def _parts_there(self) -> list[str]:
        return [name for name in self._target.files() if _PART.search(name)]

    def _judged_parts(self, cpus: int) -> Iterator[Part]:
        import ray
        import ray.data  # sets the level of its log

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.target_max_block_size = _BLOCK
        context.enable_progress_bars = False
        sources = [
            {"number": number, "output": output, "source": msgspec.json.encode(source)}
            for number, (output, (source,)) in enumerate(self._outputs.items())
        ]
        reports = (
            ray.data.from_items(sources, override_num_blocks=len(sources))
            .map_batches(
                read_sources,
                batch_size=1,
                batch_format="pyarrow",
                fn_kwargs={"job": self._job},
                num_cpus=_READING,
            )
            .map_batches(
                PartJudge,
                batch_size=None,
                batch_format="pyarrow",
                zero_copy_batch=True,
                fn_constructor_args=(ray.put(self._scorer), self._model, self._job),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, cpus)),
                num_cpus=_JUDGING,
            )
        )
        for row in reports.iter_rows():
            yield msgspec.json.decode(row["report"], type=Part)

    def _take(self, part: Part) -> None:
        if part.name:
            self._parts.add(part.name)
        self._arrived[part.source] += sum(part.rows.values())
        rows = Counter(self._report.rows) + Counter(part.rows)
        self._report = msgspec.structs.replace(self._report, rows=dict(rows))
        for found in part.found:
            if (part.source, found.number) in self._found:
                continue  # the batch was cut into two blocks
            self._found.add((part.source, found.number))
            self._shares[part.source] = max(self._shares[part.source], found.share)
            self._left_out += [(part.source, row) for row in found.left_out]
            if found.end:
                self._ends[part.source] = found.end
                self._report.data.append(found.end.description)
                self._report.warnings.extend(found.end.messages)

    def _share_done(self) -> float:
        sizes = [max(1, source.size) for source in self._sources]
        return sum(map(float.__mul__, self._shares.values(), map(float, sizes))) / sum(sizes)

    def _check_arrived(self) -> None:
        for number, source in enumerate(self._sources):
            end = self._ends.get(number)
            if end is None or end.rows != self._arrived[number]:
                raise ClusterError(
                    f"{source.name}: {self._arrived[number]:,} rows came back from the cluster, "
                    f"and {end.rows if end else 'more':,} were read. The output is not complete; "
                    "start again with --overwrite."
                )

    def _write_rejects(self) -> None:
        left_out = sorted(self._left_out, key=lambda each: (each[0], each[1].row))
        self._report = msgspec.structs.replace(self._report, left_out=len(left_out))
        if self._rejects is None:
            return
        with tempfile.TemporaryDirectory(prefix="olens-") as folder:
            listed = Rejects(Path(folder), 0)
            for number, row in left_out:
                listed.add(self._sources[number].name, [row])
            listed.sync()
            complete = Path(folder) / "complete"
            write_list(complete, [Path(folder)], self._rejects.name)
            self._rejects.put(complete, "")

    def _write_done(self) -> None:
        self._report.files.extend(self._target.place_of(name) for name in sorted(self._parts))
        with tempfile.TemporaryDirectory(prefix="olens-") as folder:
            file = Path(folder) / DONE
            file.write_bytes(msgspec.json.encode(self._report))
            self._target.put(file, DONE)


def read_sources(sources: pa.Table, job: Job) -> Iterator[pa.Table]:
    """The rows of the sources, each with its `Origin`; behind the last, how its source ended."""
    for each in sources.to_pylist():
        source = msgspec.json.decode(each["source"], type=Source)
        yield from _read(source, each["number"], each["output"], job)


def _read(source: Source, number: int, output: str, job: Job) -> Iterator[pa.Table]:
    with source.local() as path:
        table = open_table(path, source.name, job.options)
        text = table.text_column(job.text_column)
        of_json, typed = table.kind in ("JSON", "JSONL"), table.kind == "Parquet"
        if of_json:
            table.look_through()
        wanted = [text] if typed or (of_json and job.kind == "JSONL") else None

        def origin(found: Found) -> Origin:
            return Origin(number, output, text, table.kind, table.columns, table.header, found)

        count, rows, left_out = 0, 0, list[LeftOut]()
        schema = None
        for batch in table.batches(wanted, typed=typed):
            left_out += batch.left_out
            if not len(batch.rows):
                continue
            found = Found(count, table.share_read, left_out)
            made = _arrow(batch, origin(found), records=of_json and job.kind == "JSONL")
            schema = made.schema
            yield made
            count, rows, left_out = count + 1, rows + len(batch.rows), []
        end = End(rows, f"{table.describe()} Texts: column {text}", table.messages())
        yield _last_row(origin(Found(count, 1.0, left_out, end)), schema)


def _arrow(batch: Batch, origin: Origin, *, records: bool) -> pa.Table:
    import polars as pl
    import pyarrow as pa

    frame = batch.frame if batch.typed is None else batch.typed
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    if records:
        table = table.append_column(_RECORD, pa.array(batch.records, pa.large_binary()))
    table = table.append_column(_ROW, batch.rows.to_arrow())
    return table.append_column(_ORIGIN, _repeated(origin, len(batch.rows)))


def _last_row(origin: Origin, schema: pa.Schema | None) -> pa.Table:
    """A row number 0, behind the others and alike, or alone."""
    import pyarrow as pa

    fields = [field for field in schema or () if field.name not in (_ROW, _ORIGIN)]
    columns = {field.name: pa.nulls(1, field.type) for field in fields}
    ending = {_ROW: pa.array([0], pa.int64()), _ORIGIN: _repeated(origin, 1)}
    return pa.table({**columns, **ending})


def _repeated(origin: Origin, times: int) -> pa.DictionaryArray:
    import numpy as np
    import pyarrow as pa

    value = pa.array([msgspec.json.encode(origin).decode()], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, dtype=np.int32)), value)


class PartJudge:
    """An actor that judges blocks of rows and writes each as a part.

    Parameters
    ----------
    scorer : ObjectRef
        Of the `Scorer`, in Ray's object store.
    model : str
        Its ID.
    job : Job
    """

    def __init__(self, scorer: ObjectRef[Scorer], model: str, job: Job) -> None:
        import ray

        self._scorer: Scorer = ray.get(scorer)
        self._model, self._job = model, job
        self._target = Target(job.output)
        self._added = [*added_columns(self._scorer.classes), *([WORDS] if job.words else [])]

    def __call__(self, block: pa.Table) -> dict[str, list[bytes]]:
        """Judge and write the rows of a block, which are of one source."""
        import polars as pl

        values = block.column(_ORIGIN).unique().to_pylist()
        origins = [msgspec.json.decode(value, type=Origin) for value in values]
        frame = pl.from_arrow(block.drop_columns([_ORIGIN]))
        assert isinstance(frame, pl.DataFrame)
        name, rows = self._write(origins[0], frame.filter(pl.col(_ROW) > 0))
        part = Part(origins[0].source, name, rows, [origin.found for origin in origins])
        return {"report": [msgspec.json.encode(part)]}

    def _write(self, origin: Origin, frame: pl.DataFrame) -> tuple[str | None, dict[str, int]]:
        if not frame.height:
            return None, {}
        added = judge_column(self._scorer, _texts(frame, origin.text), self._model, self._job.words)
        writer = ResultWriter(origin, self._added, harmless=self._job.harmless, kind=self._job.kind)
        name = _part_name(origin.output, frame[_ROW][0])
        with tempfile.TemporaryDirectory(prefix="olens-") as folder:
            file = Path(folder) / PurePath(name).name
            _write_part(file, writer, _batch(origin, frame), added)
            self._target.put(file, name)
        return name, dict(Counter(added["prediction"].fill_null("").to_list()))


def _texts(frame: pl.DataFrame, column: str) -> pl.Series:
    import polars as pl

    return frame[column].cast(pl.String)


def _batch(origin: Origin, frame: pl.DataFrame) -> Batch:
    """The rows as their table gave them."""
    records = frame[_RECORD].to_list() if _RECORD in frame.columns else None
    values = frame.drop(_ROW, _RECORD, strict=False)
    typed = values if origin.kind == "Parquet" else None
    return Batch(values, frame[_ROW], frame[_ROW], records=records, typed=typed)


def _write_part(file: Path, writer: ResultWriter, batch: Batch, added: pl.DataFrame) -> None:
    if writer.kind == "Parquet":
        writer.frame(batch, added).write_parquet(file)
        return
    file.write_bytes(writer.head() + writer.write(batch, added) + writer.tail())


def _part_name(output: str, row: int) -> str:
    path = PurePath(output)
    return str(path.with_name(f"{path.stem}-{row:012}{path.suffix}"))


def _everywhere(name: str) -> str:
    """The name as every process understands it: a URL, or a path from the root on."""
    if is_url(name):
        return name
    return f"{Path(name).expanduser().absolute()}{'/' if name.endswith('/') else ''}"
