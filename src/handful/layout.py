"""Every file of an experiment's store, relative to `<STORE>/<NAME>/`: the only place that knows.

`Layout` is made once per run from the settings. Folders have no trailing slash.
"""

from __future__ import annotations

from dataclasses import dataclass

from handful.errors import Fault, SettingsError

STORE = "store.json"
SETTINGS = "settings.ini"
FUNCTIONS = "functions.py"
PROGRESS = "progress.json"
"""How far the step under way is; only while it lasts, and only if it lasts."""

LABEL_COUNTS = "data/unique_labels_and_counts.json"
RECONCILIATION = "data/reconciliation"
LABELS = f"{RECONCILIATION}/labels.parquet"
LISTING = f"{RECONCILIATION}/listing.parquet"
FILE_KEYS = f"{RECONCILIATION}/file_keys.parquet"
DOCUMENTS = f"{RECONCILIATION}/documents.parquet"
SNAPSHOT = f"{RECONCILIATION}/snapshot.json"
LEDGER = f"{RECONCILIATION}/ledger.parquet"
SUMMARY = f"{RECONCILIATION}/summary.json"
PROCESSED = f"{RECONCILIATION}/processed.parquet"
COPIES = f"{RECONCILIATION}/copies.parquet"
CONTENTS = f"{RECONCILIATION}/contents.parquet"
CHECKSUMS = f"{RECONCILIATION}/checksums.parquet"
STATS = f"{RECONCILIATION}/stats.parquet"
RECONCILED = f"{RECONCILIATION}/reconciled.json"
LOCK = f"{RECONCILIATION}/lock"
"""A folder: see `handful.storage.lock`."""
OVERWRITING = f"{RECONCILIATION}/overwriting"
"""A folder: what an interrupted OVERWRITE has copied again."""
ARTIFACTS = "data/reconciled_artifacts"
FORGOTTEN = "data/forgotten"
FORGOTTEN_KEY = f"{FORGOTTEN}/key"
"""With which the ids of forgotten documents are hashed."""
FORGOTTEN_LIST = f"{FORGOTTEN}/forgotten.json"
FORGET_JOURNAL = f"{FORGOTTEN}/journal.json"
"""What is being forgotten; gone when it is."""
NEAR_DUPLICATES = "data/near_duplicates.parquet"
NEAR_DUPLICATE_PAIRS = "data/near_duplicate_pairs.parquet"
PREPARED_DATA = "data/prepared_data"
BUNDLES = "bundles"
"""A folder for each bundle that went to another machine, named by its content's hash."""
JOBS = "jobs"
"""A folder for each job that ran on another machine."""

# Beside the models' folders in evaluation/.
BASELINE_TFIDF = "baseline-tfidf"
BASELINE_MAJORITY = "baseline-majority"
BASELINE_PROBE = "baseline-probe"
"""Begins the name of each model's: see `probe_folder`."""

# Inside <model>/ of the prepared data.
QUARANTINE = "quarantine.parquet"
TRUNCATION = "truncation.json"
ENCODED_RECORD = "encoded.json"
SHARDS = "shards"
SPLITS = ("train", "validation", "test")

# Inside final/ of a trained model, beside what from_pretrained wants.
FINAL_RECORD = "handful.json"

# Inside <model>/ of the tuning.
TUNING = "tuning.json"
BEST = "best.ini"
TRIAL = "trial.json"
SEARCH = "search.json"

# Inside the folder of a run, and of a trial.
CHECKPOINTS = "checkpoints"
FINAL = "final"
KEPT = "kept"
PROBE = "probe"
FEATURES = "features"
"""A folder, in which each other one is named by the hash of what its content was made from."""
FEATURES_RECORD, PROBE_RECORD = "vectors.json", "probe.json"
ACTIVATIONS, ACTIVATIONS_RECORD = "activations", "activations.json"
"""Like `FEATURES`."""
METRICS_LOG = "metrics.jsonl"


def job_result(name: str) -> str:
    """What the job of this name returned, or its error."""
    return f"{JOBS}/{name}/result.json"


def job_sent(name: str) -> str:
    """What was sent under this name; written before it is sent."""
    return f"{JOBS}/{name}/sent.json"


def job_taken(name: str) -> str:
    """The mark that the job's answer was taken."""
    return f"{JOBS}/{name}/taken.json"


def artifact(artifact_id: str) -> str:
    """The folder of one artifact's files."""
    return f"{ARTIFACTS}/{artifact_id}"


def artifact_file(artifact_id: str, name: str) -> str:
    """One file of one artifact."""
    return f"{ARTIFACTS}/{artifact_id}/{name}"


def model_folder(model: str) -> str:
    """The folder name of a model: `/` as `--` for a hub name, the last part of a local path.

    A path is what begins with `/`, `.`, `~` or `s3://`.
    """
    if model.startswith(("/", ".", "~", "s3://")):
        return model.rstrip("/").rsplit("/", 1)[-1]
    return model.replace("/", "--")


def probe_folder(model: str) -> str:
    """The name under which the probe of a model is tested and compared."""
    return f"{BASELINE_PROBE}--{model_folder(model)}"


@dataclass(frozen=True)
class Layout:
    """The paths that depend on `ENCODED_DATA_DIR`."""

    encoded_data_dir: str

    @property
    def prepared(self) -> str:
        return f"{PREPARED_DATA}/{self.encoded_data_dir}"

    @property
    def label2id(self) -> str:
        return f"{self.prepared}/label2id.json"

    @property
    def id2label(self) -> str:
        return f"{self.prepared}/id2label.json"

    @property
    def splits(self) -> str:
        return f"{self.prepared}/splits.parquet"

    @property
    def split_metadata(self) -> str:
        return f"{self.prepared}/split_metadata.json"

    @property
    def leakage(self) -> str:
        return f"{self.prepared}/leakage.json"

    @property
    def prepared_record(self) -> str:
        return f"{self.prepared}/prepared.json"

    @property
    def prepared_lock(self) -> str:
        return f"{self.prepared}/lock"

    def encoded(self, model: str) -> str:
        """The folder of one model's Arrow datasets, quarantine and truncation report."""
        return f"{self.prepared}/{model_folder(model)}"

    def encoded_split(self, model: str, split: str) -> str:
        return f"{self.encoded(model)}/{split}"

    @property
    def results(self) -> str:
        return f"results/{self.encoded_data_dir}"

    @property
    def results_lock(self) -> str:
        return f"{self.results}/lock"

    @property
    def tuned_record(self) -> str:
        return f"{self.results}/tuned.json"

    def tuning(self, model: str) -> str:
        """The folder of one model's search for better settings."""
        return f"{self.results}/tuning/{model_folder(model)}"

    def trial(self, model: str, number: int) -> str:
        """The folder of one trial, counted from 0."""
        return f"{self.tuning(model)}/trial-{number:04d}"

    @property
    def trained_record(self) -> str:
        return f"{self.results}/trained.json"

    @property
    def tested_record(self) -> str:
        return f"{self.results}/tested.json"

    @property
    def comparison(self) -> str:
        return f"{self.results}/comparison.json"

    @property
    def compared_record(self) -> str:
        return f"{self.results}/compared.json"

    @property
    def reported_record(self) -> str:
        return f"{self.results}/reported.json"

    @property
    def models(self) -> str:
        """`<model>/seed-<n>/` of every training run."""
        return f"{self.results}/models"

    def run(self, model: str, seed: int) -> str:
        """The folder of one training run."""
        return f"{self.models}/{model_folder(model)}/seed-{seed}"

    def checkpoints(self, model: str, seed: int) -> str:
        return f"{self.run(model, seed)}/{CHECKPOINTS}"

    def final(self, model: str, seed: int) -> str:
        return f"{self.run(model, seed)}/{FINAL}"

    def probe(self, model: str) -> str:
        """The folder of a model's probe."""
        return f"{self.models}/{model_folder(model)}/{PROBE}"

    def probe_final(self, model: str) -> str:
        return f"{self.probe(model)}/{FINAL}"

    def features(self, model: str) -> str:
        """The folder of what a model's head is given before training."""
        return f"{self.models}/{model_folder(model)}/{FEATURES}"

    def activations(self, model: str) -> str:
        """The folder of what a model's frozen layers give, until `train` is through."""
        return f"{self.models}/{model_folder(model)}/{ACTIVATIONS}"

    def kept(self, model: str, seed: int, fingerprint: str = "") -> str:
        """The folder of a trained model that a newer one has replaced; of all, without a name."""
        return f"{self.run(model, seed)}/{KEPT}/{fingerprint}".rstrip("/")

    def metrics_log(self, model: str, seed: int) -> str:
        """One JSON object a line: training loss and validation metrics as they came."""
        return f"{self.run(model, seed)}/{METRICS_LOG}"

    def tracking(self, model: str, seed: int) -> str:
        """A folder: what a tracker wrote that has no other place (TRACKER, MODE = offline)."""
        return f"{self.run(model, seed)}/tracking"

    @property
    def evaluation(self) -> str:
        return f"{self.results}/evaluation"

    def evaluated(self, model: str, seed: int) -> str:
        """The folder of one model's test results."""
        return f"{self.evaluation}/{model_folder(model)}/seed-{seed}"

    def predictions(self, model: str, seed: int) -> str:
        return f"{self.evaluated(model, seed)}/predictions.parquet"

    def metrics(self, model: str, seed: int) -> str:
        return f"{self.evaluated(model, seed)}/metrics.json"

    def confusion_matrix(self, model: str, seed: int) -> str:
        return f"{self.evaluated(model, seed)}/confusion_matrix.csv"

    @property
    def looks(self) -> str:
        return f"{self.evaluation}/looks.jsonl"

    @property
    def label_review(self) -> str:
        """For the labellers: labels that are probably wrong, and their decisions."""
        return f"{self.results}/label_review.csv"

    @property
    def label_review_notes(self) -> str:
        """Who judged how many labels, and why not all."""
        return f"{self.results}/label_review.json"

    @property
    def report(self) -> str:
        return f"{self.results}/report.html"


SNAPSHOT_FILES = frozenset((LABELS, LISTING, FILE_KEYS))
"""What snapshot.json itself says how it was written."""
RECONCILE_FILES = (
    *(LABELS, LISTING, FILE_KEYS, LEDGER, SUMMARY),
    *(PROCESSED, COPIES, CONTENTS, CHECKSUMS, STATS),
)
"""Beside the label counts: what reconcile leaves for itself and for others."""
RECONCILE_MEMORY = (PROCESSED, COPIES, CONTENTS, CHECKSUMS)
"""What only saves work: without it there is more to do."""
_OF_PRODUCTION = SNAPSHOT_FILES | {SNAPSHOT, STATS}
_PASSING = frozenset(
    (SHARDS, CHECKPOINTS, FINAL, KEPT, FEATURES, ACTIVATIONS, "lock", "tracking", "overwriting")
)
"""Folders of files that no record is asked for: they pass, or a marker names them."""
_EDITED = frozenset(("label_review.csv",))
"""By people."""
_SELF_CHECKED = frozenset(
    (
        *("reconciled.json", "prepared.json", "tuned.json", "trained.json", "tested.json"),
        *("compared.json", "reported.json", "snapshot.json", FINAL_RECORD, ENCODED_RECORD, TRIAL),
        *("checkpoint.json", FEATURES_RECORD, PROBE_RECORD, ACTIVATIONS_RECORD),
    )
)
_STEP_OF_RESULT = {
    "tuning": "tune",
    "tuned.json": "tune",
    "models": "train",
    "trained.json": "train",
    "comparison.json": "compare",
    "label_review.json": "compare",
    "compared.json": "compare",
    "report.html": "report",
    "reported.json": "report",
}


def checks_itself(key: str) -> bool:
    """Is it JSON with a checksum of its own: a record, or the marker of a folder?"""
    return key.rsplit("/", 1)[-1] in _SELF_CHECKED


def checksum_record_keys(key: str) -> tuple[str, ...]:
    """The records that may say how the file at `key` was written; none for what is passing."""
    if key.startswith(f"{ARTIFACTS}/"):
        return ()
    folders = key.split("/")
    if checks_itself(key) or folders[-1] in _EDITED or not _PASSING.isdisjoint(folders[:-1]):
        return ()
    step = step_of(key)
    if step == "reconcile":
        return (RECONCILED, SNAPSHOT) if key in SNAPSHOT_FILES else (RECONCILED,)
    if step is None or len(folders) < 3:
        return ()
    mine = Layout(folders[2] if step == "prepare" else folders[1])
    return {
        "prepare": (mine.prepared_record,),
        "tune": (mine.tuned_record,),
        "train": (mine.trained_record,),
        "test": (mine.tested_record,),
        "compare": (mine.compared_record,),
        "report": (mine.reported_record,),
    }[step]


def step_of(key: str) -> str | None:
    """The step that writes what is at `key`; None for what belongs to none."""
    first, second, *rest = (*key.split("/"), "")
    if key.startswith((f"{RECONCILIATION}/", f"{ARTIFACTS}/")) or key == LABEL_COUNTS:
        return "reconcile"
    if key.startswith(f"{PREPARED_DATA}/"):
        return "prepare"
    if first == "results" and rest[:1] == ["models"] and rest[2:3] == [PROBE]:
        return "test"  # what it is compared with stands beside it
    if first == "results" and second:
        return _STEP_OF_RESULT.get(rest[0], "test")
    return None


def remedy_for(key: str, experiment: str) -> str:
    """What makes the file at `key` again, for people; `experiment` is what handful is given."""
    step = step_of(key)
    if key in _OF_PRODUCTION:
        return f"take it from production anew: `handful run {experiment} --refresh`"
    redo = f"`handful run {experiment} --redo {step}`"
    if key.endswith("/looks.jsonl"):
        return f"nobody can look again as then: mend its lines, or remove it, and {redo}"
    return f"make it again: {redo}" if step else "restore it from a copy"


def check_model_folders(models: tuple[str, ...]) -> None:
    """`SettingsError` if two models would share a folder, or one has no name for its own.

    Local directories are given as absolute paths.
    """
    seen: dict[str, str] = {}
    faults = []
    for model in models:
        if model_folder(model) in {"", ".", ".."}:
            what = f"{model!r} does not end in a name"
            faults.append(Fault("[train] MODEL_NAMES", what, "write the folder's own name"))
        other = seen.setdefault(model_folder(model), model)
        if other != model:
            faults.append(
                Fault(
                    "[train] MODEL_NAMES",
                    f"{other!r} and {model!r} would share the folder {model_folder(model)!r}",
                    "rename one of the two directories",
                )
            )
    if faults:
        raise SettingsError(faults)
