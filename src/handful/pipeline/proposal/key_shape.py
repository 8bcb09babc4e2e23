"""Which part of the keys is the artifact id, and which files every artifact has.

Patterns that may be meant (see `key_candidates`) are tried on all sampled keys by the class that
will read them in the end. One is the better the more known artifacts it finds, the more keys it
reads, the more of its artifacts have the same files; and it is none if one artifact gets two files
of one name. Of those that are nearly as good the default is taken, else the simplest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

import polars as pl

from handful.pipeline.proposal.findings import FilesProposal, SampledKeys
from handful.pipeline.proposal.key_candidates import (
    PatternCandidate,
    build_candidates,
    find_id_spots,
)
from handful.pipeline.proposal.key_files import (
    FileKind,
    FilesOfArtifacts,
    KeyFile,
    describe_files,
    find_files_of,
    survey_files,
)
from handful.pipeline.proposal.key_slots import GUID_TEXT, find_key_slots
from handful.settings.values.parse import Wrong
from handful.steps.reconcile.keys.guids import normalize_guid
from handful.steps.reconcile.keys.key_pattern import KeyPattern

DEFAULT_PATTERN = "{artifact_id}/{file}"
_MOST_KEYS_SEARCHED = 4_000
"""Keys in which ids are looked for."""
_MOST_SLOTS = 6
"""Places that are tried where there are no ids."""
_LEAST_RIGHT = 0.9
"""The share of keys with a known id that have to be read as that id's."""
_AS_GOOD = 0.95
_DEFAULT_AS_GOOD = 0.9
_DOCUMENTS, _EXAMPLES = 50, 3
_MEETING = 10
"""How much more often than in a sample artifacts have two files of one name."""


@dataclass(frozen=True)
class _Trial:
    """A candidate, and what it reads."""

    candidate: PatternCandidate
    files: tuple[KeyFile, ...]
    survey: FilesOfArtifacts
    known: int
    """Known ids that it found."""
    clashes: float
    """The share of artifacts that get two files of one name."""
    looked_at: int
    """Keys in all."""
    likelihood: float = 1.0
    """Of the place, where no ids are known."""

    @property
    def artifacts(self) -> int:
        return len({file.artifact for file in self.files})

    def score(self, most_known: int) -> float:
        """How good it is: 0 to 1."""
        known = math.sqrt(self.known / most_known) if most_known else 1.0
        apart = max(0.0, 1 - _MEETING * self.clashes)
        reads = math.sqrt(math.sqrt(len(self.files) / self.looked_at))
        document = 0.3 + 0.7 * self.survey.documents[0].rating
        return known * apart * self.survey.complete * reads * document * self.likelihood


@dataclass(frozen=True)
class _Looked:
    """The sampled keys, as all trials look at them."""

    sample: SampledKeys
    fold: bool
    likelihood: float
    """See `_Trial`."""
    are_known: bool
    """The ids are the database's."""

    @cached_property
    def table(self) -> pl.DataFrame:
        keys, sizes = list(self.sample.keys), list(self.sample.sizes)
        return pl.DataFrame(
            {"key": keys, "size": sizes}, {"key": pl.String, "size": pl.Int64}
        ).with_columns(etag=pl.lit(""))

    @cached_property
    def edges(self) -> frozenset[str]:
        return frozenset(self.sample.keys[number] for number in self.sample.edges)

    def form(self, artifact_id: str) -> str:
        return normalize_guid(artifact_id) if self.fold else artifact_id


def propose_files(
    sample: SampledKeys, ids: Collection[str], fold_ids: bool
) -> tuple[FilesProposal, ...]:
    """The pattern of the keys and the files of the artifacts; none if nothing reads.

    Several only if they differ in which file is the document, and that cannot be told.

    Args:
        ids: some ids of the database; none: what is likeliest by the keys alone.
        fold_ids: GUIDs are the same however they are spelled.
    """
    if not sample.keys:
        return ()
    trials = _try_known(sample, ids, fold_ids) if ids else _try_likely(sample)
    best = _choose_trial(trials)
    return () if best is None else tuple(_propose(best, sample))


def _try_known(sample: SampledKeys, ids: Collection[str], fold: bool) -> list[_Trial]:
    """Trials of what the true ids show."""
    known = frozenset(normalize_guid(one) if fold else one for one in ids if one)
    return _try_ids(_Looked(sample, fold, likelihood=1.0, are_known=True), known)


def _try_likely(sample: SampledKeys) -> list[_Trial]:
    """Trials of the likeliest places, as if what stands there were ids."""
    trials = []
    for number, slot in enumerate(find_key_slots(sample.keys)[:_MOST_SLOTS]):
        texts = frozenset(slot.different)
        guids = sum(bool(GUID_TEXT.fullmatch(text)) for text in texts) >= 0.9 * len(texts)
        likelihood = (1.0 if guids else 0.7) * 0.95**number
        looked = _Looked(sample, fold=False, likelihood=likelihood, are_known=False)
        trials += _try_ids(looked, texts)
    return trials


def _try_ids(looked: _Looked, ids: frozenset[str]) -> list[_Trial]:
    sample = looked.sample
    some = sample.keys
    if len(some) > _MOST_KEYS_SEARCHED:
        some = tuple(Random(0).sample(some, _MOST_KEYS_SEARCHED))  # nosec B311
    spots = find_id_spots(some, ids, fold=looked.fold)
    trials = [_try_candidate(one, looked) for one in build_candidates(spots, sample.keys)]
    return [trial for trial in trials if trial is not None]


def _try_candidate(candidate: PatternCandidate, looked: _Looked) -> _Trial | None:
    """Read the keys; None if the ids that are read are wrong ones, or no file is in most."""
    try:
        pattern = KeyPattern.of(candidate.pattern)
    except Wrong:
        return None
    files = _read_files(pattern, candidate, looked)
    told = [file for file in files if file.key in candidate.truth]
    right = [file for file in told if file.artifact == candidate.truth[file.key]]
    if not right or len(right) < _LEAST_RIGHT * len(told):
        return None
    folded = [KeyFile(looked.form(f.artifact), f.file, f.key, f.size) for f in files]
    survey = survey_files(folded, looked.edges, candidate.folders)
    if survey is None:
        return None
    pairs = Counter((file.artifact, file.file) for file in folded)
    doubled = {artifact for (artifact, _), count in pairs.items() if count > 1}
    artifacts = {file.artifact for file in folded}
    known = {looked.form(file.artifact) for file in right} if looked.are_known else set()
    clashes = len(doubled) / len(artifacts)
    total = len(looked.sample.keys)
    return _Trial(candidate, tuple(folded), survey, len(known), clashes, total, looked.likelihood)


def _read_files(pattern: KeyPattern, candidate: PatternCandidate, looked: _Looked) -> list[KeyFile]:
    """What the pattern reads, if the ids are those that are known or look like these."""
    ids = set(candidate.truth.values())
    if pattern.needs_ids and candidate.exact:
        ids |= {*_read_ids(candidate.exact, looked)}
    known = pl.DataFrame({"artifact_id": sorted(ids)}, {"artifact_id": pl.String})
    read = pattern.read(looked.table, known).files
    columns = (read[name].to_list() for name in ("artifact_id", "file", "key", "size"))
    return [KeyFile(*row) for row in zip(*columns, strict=True)]


def _read_ids(pattern: str, looked: _Looked) -> list[str]:
    try:
        exact = KeyPattern.of(pattern)
    except Wrong:
        return []
    nothing = pl.DataFrame({"artifact_id": []}, {"artifact_id": pl.String})
    return exact.read(looked.table, nothing).files["artifact_id"].to_list()


def _choose_trial(trials: Sequence[_Trial]) -> _Trial | None:
    """The best; of those that are nearly as good, the default or the simplest."""
    most_known = max((trial.known for trial in trials), default=0)
    scores = [(trial.score(most_known), trial) for trial in trials]
    best, leader = max(scores, key=lambda one: one[0], default=(0.0, None))
    if leader is None or best <= 0:
        return None
    same_place = [(s, trial) for s, trial in scores if trial.likelihood == leader.likelihood]
    for score, trial in same_place:
        if trial.candidate.pattern == DEFAULT_PATTERN and score >= _DEFAULT_AS_GOOD * best:
            return trial
    good = [(score, trial) for score, trial in same_place if score >= _AS_GOOD * best]
    return min(good, key=lambda one: (one[1].candidate.complexity, -one[0]))[1]


def _propose(trial: _Trial, sample: SampledKeys) -> list[FilesProposal]:
    return [_proposal_of(trial, document, sample) for document in trial.survey.documents]


def _proposal_of(trial: _Trial, document: FileKind, sample: SampledKeys) -> FilesProposal:
    dice = Random(0)  # nosec B311
    documents = find_files_of(trial.files, document.name)
    some = dice.sample(documents, min(_DOCUMENTS, len(documents)))
    shown = dice.sample(some, min(_EXAMPLES, len(some)))
    have = [
        {file.artifact for file in find_files_of(trial.files, name)} for name in trial.survey.files
    ]
    others = [name for name in trial.survey.files if name != document.name]
    return FilesProposal(
        key_pattern=trial.candidate.pattern,
        files=(document.name, *others),
        artifacts=trial.artifacts,
        with_all_files=len(set.intersection(*have)),
        reads=len(trial.files),
        examples=tuple((file.key, file.artifact) for file in shown),
        document=document.name,
        documents=tuple(file.key for file in some),
        reasons=tuple(_describe_trial(trial, sample)),
    )


def _describe_trial(trial: _Trial, sample: SampledKeys) -> list[str]:
    """For people."""
    keys = (
        f"all {len(sample.keys):,} keys" if sample.is_all else f"{len(sample.keys):,} sampled keys"
    )
    told = [
        f"{trial.candidate.pattern} reads {len(trial.files):,} of {keys}, as files of "
        f"{trial.artifacts:,} artifacts"
    ]
    told += describe_files(trial.survey)
    if trial.clashes:
        told.append(f"{trial.clashes:.1%} of the artifacts have two files of one name")
    read = {file.key for file in trial.files}
    beside = Counter(key.split("/")[0] for key in sample.keys if key not in read and "/" in key)
    if beside:
        some = ", ".join(f"{name}/ ({count:,})" for name, count in beside.most_common(3))
        told.append(f"keys that it does not read lie in {some}")
    return told
