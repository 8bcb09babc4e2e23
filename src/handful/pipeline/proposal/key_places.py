"""Looks at the keys of production's files: some from random places, and the texts in them that may
be the artifact ids.
"""

from __future__ import annotations

import threading
from random import Random

from handful.pipeline.proposal.findings import MOST_KEYS, Deadline, KeyPieces, SampledKeys
from handful.pipeline.proposal.key_slots import find_key_slots
from handful.progress import Progress
from handful.storage.base import Source
from handful.storage.sampling import RUN_OF_KEYS, KeyCollector, Sampleable

_SAMPLING_POLL_SECONDS = 0.2
"""Between two looks at how far the sampling has come."""
_MOST_PIECES = 24
_MOST_TEXTS = 200
_SAMPLING_TASK = "look at the files"


def sample_keys(
    files: Source,
    deadline: Deadline,
    progress: Progress,
    *,
    most: int = MOST_KEYS,
    seed: int | None = None,
) -> SampledKeys:
    """At most `most` keys from random places of `files`; all of them, if they are no more.

    After the deadline: what was seen until then, however slowly the source answers.
    Raises what listing raises. `seed`: for places that are the same each time.
    """
    into = KeyCollector(most, Random(seed), deadline.at)  # nosec B311
    errors: list[BaseException] = []

    def work() -> None:
        try:
            if isinstance(files, Sampleable):
                files.sample(into)
            else:
                _sample_listing(files, into)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            errors.append(error)

    # Nobody waits for it at the end: a server may be silent for a minute.
    thread = threading.Thread(target=work, name="handful-sample", daemon=True)
    thread.start()
    while thread.is_alive() and not deadline.is_over:
        thread.join(min(_SAMPLING_POLL_SECONDS, deadline.left))
        progress.advance(_SAMPLING_TASK, len(into.sizes), None, "keys")
    if errors:
        raise errors[0]
    is_all = into.is_all
    found = sorted(into.sizes.copy().items())
    progress.advance(_SAMPLING_TASK, len(found), len(found), "keys")
    edges = into.edges.copy()
    return SampledKeys(
        tuple(key for key, _ in found),
        tuple(size for _, size in found),
        is_all,
        tuple(number for number, (key, _) in enumerate(found) if key in edges),
    )


def _sample_listing(files: Source, into: KeyCollector) -> None:
    """Of a source that cannot be sampled: its listing, some neighbours of each batch."""
    whole: dict[str, int] | None = {}
    for batch in files.list():
        keys, sizes = (batch.column(name).to_pylist() for name in ("key", "size"))
        if whole is not None:
            whole |= dict(zip(keys, sizes, strict=True))
            whole = whole if len(whole) <= into.most else None
        into.add_some([*zip(keys, sizes, strict=True)], RUN_OF_KEYS, begins=False, ends=False)
        if into.is_full or into.is_over:
            return
    if whole is not None:
        into.take_all(whole.items())


def pieces_of(sample: SampledKeys) -> tuple[KeyPieces, ...]:
    """The places of the keys that may be the ids, the likeliest first: to be looked up.

    Each with at most 200 different texts, at random. Dates and fixed words are left out.
    """
    pieces = []
    for slot in find_key_slots(sample.keys)[:_MOST_PIECES]:
        texts = slot.different
        if len(texts) > _MOST_TEXTS:
            texts = Random(0).sample(texts, _MOST_TEXTS)  # nosec B311
        pieces.append(KeyPieces(slot.place, tuple(texts)))
    return tuple(pieces)
