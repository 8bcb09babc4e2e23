"""What was seen of production, and what is proposed: the records that go between the looks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_SECONDS = 60.0
"""How long a look at production may take in all."""
MOST_KEYS = 10_000
"""Keys of the bucket that are looked at."""
NEARLY_EQUAL = 0.1
"""Two candidates whose scores (of 0 to 1) are nearer than this are for the user to choose."""


@dataclass(frozen=True)
class Deadline:
    """When the look has to be over; `time.monotonic()` in seconds."""

    at: float

    @classmethod
    def of(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds, never below 0."""
        return max(0.0, self.at - time.monotonic())

    @property
    def is_over(self) -> bool:
        return self.left <= 0


@dataclass(frozen=True)
class SampledKeys:
    """Keys from random places of the files' URL, each with its size in bytes."""

    keys: tuple[str, ...]
    sizes: tuple[int, ...]
    is_all: bool
    """There are no others."""
    edges: tuple[int, ...] = ()
    """Which of them (by number) lie where a run of neighbours was cut off: their artifacts may have
    files that were not seen."""


@dataclass(frozen=True)
class KeyPieces:
    """Different texts that stand at one place of the keys, which may be the ids."""

    place: str
    """For people: the place, such as `folder 4` or `the name before _`."""
    values: tuple[str, ...]
    """At most 200."""


@dataclass(frozen=True)
class QueryProposal:
    """A LABEL_QUERY, and why."""

    sql: str
    """In the database's own dialect; gives artifact_id, label, and file_hash if there is one."""
    score: float
    """How sure: 0 to 1."""
    reasons: tuple[str, ...]
    """For people: a line for each of id, label, hash, date, joins, history, deleted rows."""
    labels: Mapping[str, int]
    """How many rows have which label, the most frequent first; only to be shown."""
    counts_from: str
    """What `labels` was counted in, such as `the server's statistics` or `2,000 sampled rows`."""
    asked_ids: int
    """How many ids of the keys were looked up in the id's column."""
    matched_ids: int
    """How many of them are there."""
    ids: tuple[str, ...]
    """Some ids of its rows, at most 1,000; `matched_ids` of them first."""
    text_columns: tuple[str, ...] = ()
    """Columns of the query that hold documents: it is one without files."""
    fold_ids: bool = False
    """The ids are spelled otherwise than in the keys, as GUIDs: `ID_FORMAT = guid`."""


@dataclass(frozen=True)
class QueryFindings:
    """The best proposal, or several of which the user has to choose."""

    proposals: tuple[QueryProposal, ...]
    """One; several if they are nearly equal; none if there was nothing to propose."""
    question: str = ""
    """What several differ in, such as `which column is the label?`."""
    notes: tuple[str, ...] = ()
    """For people: what was not looked at and why, such as a table that may not be read."""


@dataclass(frozen=True)
class FilesProposal:
    """Where the id stands in the keys, and which files every artifact has."""

    key_pattern: str
    """`[production] KEY_PATTERN`; its default where that reads the keys."""
    files: tuple[str, ...]
    """`[production] FILES_FROM_PROD`: names or globs, relative to the artifact."""
    artifacts: int
    """Artifacts among the sampled keys."""
    with_all_files: int
    """Those of them that have a match of each of `files`."""
    reads: int
    """Keys that the pattern reads."""
    examples: tuple[tuple[str, str], ...]
    """Some pairs of a key and the id in it."""
    document: str
    """The name or glob (one of `files`) that is the document itself."""
    documents: tuple[str, ...]
    """Sampled keys of documents, at most 50, at random."""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class KindProposal:
    """What the documents are, and the model for them."""

    kind: str
    """text, json, html, email, pdf, docx, rows, images."""
    language: str
    """ISO 639-1, or `` where it was not found (images, too few documents)."""
    reasons: tuple[str, ...]
    details: Mapping[str, str] = field(default_factory=dict)
    """What the kind's functions need: `json` has `text_path`, the keys to the text."""


@dataclass(frozen=True)
class ModelAdvice:
    """A model to begin with."""

    name: str
    """On the hub."""
    megabytes: int
    licence: str
    why: str
