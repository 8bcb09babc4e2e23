"""An experiment from Python: for notebooks, and for programs that run experiments.

    import handful

    experiment = handful.Experiment.open("EXP-0007-mine")
    experiment.run(until="compare")
    experiment.comparison()

The same settings, functions, store and steps as those of the command line: what one has done the
other finds.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from handful.errors import Absent, UserError
from handful.experiment.context import Experiment as Opened
from handful.experiment.context import open_experiment
from handful.files.paths import at_home
from handful.pipeline.bars import NotebookBars
from handful.progress import Progress

if TYPE_CHECKING:
    import datasets
    import polars as pl

    from handful.steps.prepare.artifacts import Artifact
    from handful.steps.prepare.encoding.instance import Instance

Value = str | int | float | bool | Path
Settings = Mapping[str, Mapping[str, Value | Iterable[Value] | None]]
"""Section → key → value; a list is written with commas, None leaves the key out."""

_WRITTEN_HERE = "# Written by handful.Experiment.create: change it there."


class Experiment:
    """An experiment's directory, its settings and its store.

    Nothing is kept open from one call to the next but what `dataset` has mapped into memory.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        overrides: Mapping[str, Value] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """`overrides`: `section.KEY` → value, as `--set` of the commands. See `open`."""
        self.directory = at_home(str(directory)).absolute()
        self._overrides = tuple(f"{key}={_text(value)}" for key, value in (overrides or {}).items())
        self._progress = progress
        self._scratch: list[tempfile.TemporaryDirectory[str]] = []

    def __repr__(self) -> str:
        return f"handful.Experiment({str(self.directory)!r})"

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        overrides: Mapping[str, Value] | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """The experiment in the directory `path`.

        `overrides` replace keys for this object: `{"train.EPOCHS": 2}`. `progress` is told what
        happens; by default there are bars. `SettingsError` with all faults of the settings.
        """
        found = cls(path, overrides=overrides, progress=progress)
        with found._session():
            return found

    @classmethod
    def create(
        cls,
        directory: str | Path,
        settings: Settings | str,
        functions: Iterable[Callable[..., Any]] | str,
        *,
        overrides: Mapping[str, Value] | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Write settings.ini and functions.py into `directory`, and open it.

        `settings`: section → key → value, or the text of a settings.ini. `functions`: some of the
        five, whose sources are written together with what they name (helpers, constants, imports),
        or the text of a functions.py. Called again, it replaces what it has written before.

        `UserError` where the files are somebody else's; `FunctionsError` for a lambda, a closure,
        or a value that no source tells.
        """
        from handful.user_functions.write_source import format_functions

        directory = at_home(str(directory)).absolute()
        source = functions if isinstance(functions, str) else format_functions(functions)
        text = settings if isinstance(settings, str) else format_settings(settings)
        files = {directory / "settings.ini": text, directory / "functions.py": source}
        for path in files:
            _check_own(path)
        for path, content in files.items():
            _write_own(path, content)
        return cls.open(directory, overrides=overrides, progress=progress)

    def run(
        self,
        *,
        until: str | None = None,
        start: str | None = None,
        redo: Iterable[str] = (),
        refresh: bool = False,
    ) -> Self:
        """Bring the steps up to date, from `start` to `until` (all of them by default).

        `redo`: steps that are done although nothing changed; `refresh`: production is asked anew.
        The experiment itself. What the commands tell as errors is raised (`handful.errors`).
        """
        from handful.pipeline.run import run
        from handful.pipeline.step import Choice
        from handful.pipeline.steps import STEP_NAMES

        for step in (start, until, *redo):
            if step not in (None, *STEP_NAMES):
                known = ", ".join(STEP_NAMES)
                raise UserError(f"{step!r} is no step", remedy=f"the steps: {known}")
        with self._session() as opened:
            run(opened, Choice(start, until, frozenset(redo), refresh=refresh))
        return self

    def status(self) -> pl.DataFrame:
        """A row a step: `step`, `done_at` (ISO 8601, UTC, or null), `up_to_date`, `reasons`."""
        import polars as pl

        from handful.pipeline.step_status import states
        from handful.pipeline.steps import STEPS

        with self._session() as opened:
            found = states(opened, STEPS)
        rows = [
            {
                "step": state.step,
                "done_at": state.record.finished_at if state.record else None,
                "up_to_date": state.up_to_date,
                "reasons": [*(str(one) for one in state.damage), *state.reasons],
            }
            for state in found
        ]
        schema: dict[str, Any] = {
            "step": pl.String,
            "done_at": pl.String,
            "up_to_date": pl.Boolean,
            "reasons": pl.List(pl.String),
        }
        return pl.DataFrame(rows, schema=schema)

    def ledger(self) -> pl.DataFrame:
        """One row for every label row and every artifact that was seen, with its fate."""
        from handful import layout

        with self._session() as opened:
            return _table(opened, layout.LEDGER, "reconcile")

    def splits(self) -> pl.DataFrame:
        """Each kept artifact: `artifact_id`, `label`, `split`, `group`, `reason`."""
        with self._session() as opened:
            return _table(opened, opened.layout.splits, "prepare")

    def predictions(self, model: str | None = None, seed: int | None = None) -> pl.DataFrame:
        """What was predicted on the test split: of every model, baseline and seed, or of one.

        `model` (its folder's name), `seed`, `artifact_id`, `label`, `prediction`, `probabilities`
        and `logits` (lists in label-id order; null where a baseline has none).
        """
        import polars as pl

        with self._session() as opened:
            parts = [
                _table(opened, opened.layout.predictions(name, number), "test").select(
                    pl.lit(name).alias("model"), pl.lit(number).alias("seed"), pl.all()
                )
                for name, number in _tested_runs(opened)
                if model in (None, name) and seed in (None, number)
            ]
        if not parts:
            raise UserError(
                f"no predictions of {model or 'any model'}"
                f"{'' if seed is None else f' with seed {seed}'}",
                where=str(self.directory),
                remedy="`experiment.comparison()` names the models and seeds that were tested",
            )
        return pl.concat(parts, how="diagonal_relaxed")

    def comparison(self) -> pl.DataFrame:
        """The ranking on the test split: a row a model, the best on validation first.

        `rank`, `model`, `winner`, `baseline`, `seeds`, `validation` (METRIC), and of each metric
        its value, with `_low` and `_high` of its 95 % interval.
        """
        import polars as pl

        with self._session() as opened:
            found = json.loads(_read(opened, opened.layout.comparison, "compare"))
        rows = []
        for one in found["ranking"]:
            row = {name: one.get(name) for name in ("rank", "model", "winner", "baseline", "seeds")}
            row["validation"] = (one.get("validation") or {}).get("mean")
            for name, metric in one["metrics"].items():
                row |= {name: metric.get("value")}
                row |= {f"{name}_{end}": metric.get(end) for end in ("low", "high")}
            rows.append(row)
        return pl.DataFrame(rows, infer_schema_length=None)

    def verdict(self) -> str:
        """What compare says of the winner, in words."""
        with self._session() as opened:
            found = json.loads(_read(opened, opened.layout.comparison, "compare"))
        return "\n".join(found["sentences"])

    def dataset(self, split: str, model: str | None = None) -> datasets.Dataset:
        """The encoded rows of `split` (train, validation or test), mapped into memory.

        `model` is one of MODEL_NAMES; needed where there are several. What is made from the dataset
        (`map`, `filter`) is kept in a private folder, never in the store.
        """
        from datasets import load_from_disk

        from handful import layout

        if split not in layout.SPLITS:
            raise UserError(f"{split!r} is no split", remedy=f"say {', '.join(layout.SPLITS)}")
        with self._session() as opened:
            names = opened.settings.train.MODEL_NAMES
            if model is None and len(names) > 1:
                told = ", ".join(names)
                raise UserError("of which model?", remedy=f"say model=…: {told}")
            key = opened.layout.encoded_split(model or names[0], split)
            own = self._private_folder()
            try:
                found = opened.store.fetch_tree(key, own / "fetched")
            except Absent as error:
                raise _not_done(opened, "prepare") from error
            links = own / split
            links.mkdir()
            for file in found.iterdir():
                (links / file.name).symlink_to(file)
            return load_from_disk(str(links))

    def instances(self, most: int = 3, *, folder: str | Path | None = None) -> list[Instance]:
        """Some kept artifacts as `encode_data` is given them, to try it on; of each label in turn.

        The files of MODEL_INPUT_FILES are copied below `folder`; without one, to a private folder
        that stays as long as this object. `DataError` as long as nothing has been reconciled.
        """
        from handful.steps.prepare.artifacts import load_kept_artifacts

        with self._session() as opened:
            kept = load_kept_artifacts(opened.store)
            place = Path(folder).absolute() if folder else self._private_folder()
            return _copy_instances(opened, _in_turn(kept, most), place)

    def report(self) -> ReportPage:
        """The report, which a notebook shows; `.html` is the page, `.save(path)` writes it."""
        with self._session() as opened:
            return ReportPage(_read(opened, opened.layout.report, "report").decode())

    def _private_folder(self) -> Path:
        """A folder that stays as long as this object."""
        scratch = tempfile.TemporaryDirectory(prefix="handful-", ignore_cleanup_errors=True)
        self._scratch.append(scratch)
        return Path(scratch.name)

    @contextmanager
    def _session(self) -> Iterator[Opened]:
        """As the command line has it: opened anew, told of secrets, with a scratch folder."""
        from handful.backends.worker import without_secrets

        progress = self._progress or NotebookBars()
        with tempfile.TemporaryDirectory(prefix="handful-", ignore_cleanup_errors=True) as scratch:
            opened = open_experiment(self.directory, self._overrides, progress, Path(scratch))
            try:
                with without_secrets(opened.settings.hide):
                    yield opened
            finally:
                if isinstance(progress, NotebookBars):
                    progress.close()


class ReportPage:
    """A report's page, which shows itself in a notebook."""

    def __init__(self, html: str) -> None:
        self.html = html

    def save(self, path: str | Path) -> Path:
        """Write the page; its path."""
        Path(path).write_text(self.html, encoding="utf-8")
        return Path(path)

    def _repr_html_(self) -> str:
        """In a frame of its own, without leave to do anything to the notebook."""
        return (
            f'<iframe sandbox="allow-scripts" srcdoc="{escape(self.html)}" '
            'style="width: 100%; height: 800px; border: 0"></iframe>'
        )


def format_settings(settings: Settings) -> str:
    """The text of a settings.ini; `UserError` for a value that would not be read as it is."""
    lines = []
    for section, keys in settings.items():
        lines.append(f"\n[{section}]")
        for key, value in keys.items():
            if value is not None:
                first, *more = _text(value).strip().splitlines() or [""]
                text = f"\n    {first}" + "".join(f"\n    {one}" for one in more) if more else first
                lines.append(f"{key} = {text}".rstrip())
    written = "\n".join(lines).lstrip("\n") + "\n"
    _check_reads_back(settings, written)
    return written


def _check_reads_back(settings: Settings, written: str) -> None:
    from handful.settings.reading.ini import scan

    read = {(one.section, one.key): _lines(one.text) for one in scan(written).entries}
    for section, keys in settings.items():
        for key, value in keys.items():
            if value is not None and read.get((section, key)) != _lines(_text(value)):
                raise UserError(
                    "settings.ini cannot hold this value",
                    where=f"[{section}] {key}",
                    remedy="there a line that begins with # or ; is a comment: join it to the line "
                    "above; a query may stand in a file of its own (LABEL_QUERY_FILE)",
                )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _text(value: Value | Iterable[Value]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | Path):
        return str(value)
    return ", ".join(_list_item(_text(one)) for one in value)


def _list_item(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if {",", '"', "\n"} & set(text) else text


def _write_own(path: Path, content: str) -> None:
    """Write the file aside, then rename it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(f"{_WRITTEN_HERE}\n{content}", encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise UserError(f"cannot be written: {error.strerror}", where=str(path)) from error


def _check_own(path: Path) -> None:
    if path.exists() and not path.read_text(encoding="utf-8").startswith(_WRITTEN_HERE):
        raise UserError(
            "is not of handful.Experiment.create, which would replace it",
            where=str(path),
            remedy="choose another directory, or open this one: handful.Experiment.open(…)",
        )


def _in_turn(artifacts: Iterable[Artifact], most: int) -> list[Artifact]:
    """The first artifacts of every label, then the second ones, until there are `most`."""
    by_label: dict[str, list[Artifact]] = {}
    for one in artifacts:
        by_label.setdefault(one.label, []).append(one)
    rounds = zip_longest(*(found[:most] for found in by_label.values()))
    return [one for together in rounds for one in together if one is not None][:most]


def _copy_instances(opened: Opened, artifacts: list[Artifact], folder: Path) -> list[Instance]:
    from handful import layout
    from handful.files.paths import fits
    from handful.steps.prepare.encoding.instance import Instances

    prepare = opened.settings.prepare
    files = [
        {
            name: tuple(file for file in one.files if fits(name, file))
            for name in prepare.MODEL_INPUT_FILES
        }
        for one in artifacts
    ]
    for one, found in zip(artifacts, files, strict=True):
        for file in sorted({file for matching in found.values() for file in matching}):
            place = folder / one.id / file
            place.parent.mkdir(parents=True, exist_ok=True)
            opened.store.fetch(layout.artifact_file(one.id, file), place)
    ids = tuple(one.id for one in artifacts)
    labels = tuple(prepare.LABEL_ALIASES.get(one.label, one.label) for one in artifacts)
    return list(Instances(folder, ids, labels, tuple(files)))


def _tested_runs(opened: Opened) -> list[tuple[str, int]]:
    """Model and seed of all that was tested, the baselines last."""
    from handful.records import Tested

    told = Tested.from_json(_read(opened, opened.layout.tested_record, "test"))
    return [
        *((one.model, one.seed) for one in told.evaluations),
        *((one.model, one.seed) for one in told.baselines),
    ]


def _table(opened: Opened, key: str, step: str) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(io.BytesIO(_read(opened, key, step)))


def _read(opened: Opened, key: str, step: str) -> bytes:
    try:
        return opened.store.read(key)
    except Absent as error:
        raise _not_done(opened, step) from error


def _not_done(opened: Opened, step: str) -> UserError:
    return UserError(
        f"{step} has not been done yet",
        where=str(opened.directory),
        remedy=f"experiment.run(until={step!r})",
    )
