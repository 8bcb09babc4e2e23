"""Near-duplicates among many documents, and splits of many artifacts: time, and what is found.

The likeness of planted pairs is computed here from their words themselves, not from hashes.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from prepare_parts.documents import Text

Pair = tuple[str, str, float]
"""Two document ids and the Jaccard similarity of their runs of three words."""


def plant(texts: list[Text], count: int, seed: int = 1) -> tuple[list[Text], list[Pair]]:
    """Replace `count` texts by changed copies of others; all texts, and the pairs."""
    chance = random.Random(seed)
    chosen = chance.sample(range(len(texts)), 2 * count)
    found, pairs = list(texts), []
    for original, copy in zip(chosen[:count], chosen[count:], strict=True):
        words = texts[original].text.split()
        changed = list(words)
        for place in chance.sample(range(len(words)), chance.randint(0, len(words) // 5)):
            changed[place] = f"changed{chance.randrange(10**6)}"
        found[copy] = Text(texts[copy].id, texts[copy].label, " ".join(changed))
        pairs.append((texts[original].id, texts[copy].id, _jaccard(words, changed)))
    return found, pairs


def group(root: Path) -> dict[str, Any]:
    """Near-duplicates of the experiment in `root`: seconds, and artifact id → family.

    From the ledger to the groups: the workers' start and the reading of all files are within.
    """
    from handful import layout
    from handful.experiment.context import open_experiment
    from handful.progress import Silent
    from handful.records import Reconciled
    from handful.steps.prepare.artifacts import load_kept_artifacts
    from handful.steps.prepare.encoding.inputs import Inputs
    from handful.steps.prepare.similarity.near_duplicate_index import Reader
    from handful.steps.prepare.splitting.group_edges import links_between
    from handful.steps.prepare.workers import workers_of
    from handful.system.machine import pause_garbage_collection

    with tempfile.TemporaryDirectory(dir=root) as folder:
        experiment = open_experiment(root / "experiment", (), Silent(), Path(folder))
        reconciled = Reconciled.from_json(experiment.store.read(layout.RECONCILED))
        began = time.perf_counter()
        with pause_garbage_collection():  # as `prepare` plans
            artifacts = load_kept_artifacts(experiment.store)
            store, asked, told = experiment.store, experiment.settings, experiment.progress
            directory, scratch = experiment.directory, experiment.scratch
            named, most = asked.prepare.MODEL_INPUT_FILES, asked.prepare.MAX_INSTANCE_BYTES
            inputs = Inputs(store, directory, scratch, named, most)
            documents = inputs.documents(artifacts)
        with (
            workers_of(directory, asked, scratch, to_encode=False) as workers,
            pause_garbage_collection(),
        ):
            reader = Reader(inputs, workers, artifacts, documents, asked.prepare, told)
            found = reader.likeness(store, reconciled.ledger_hash)
            links = links_between(artifacts, asked, reader, found)
        seconds = time.perf_counter() - began
    alike = zip(artifacts, links.family, strict=True)
    return {"seconds": seconds, "family": {a.id: f for a, f in alike if f is not None}}


def judge(family: dict[str, str], texts: list[Text], pairs: list[Pair]) -> dict[str, Any]:
    """Recall at 0.8 among the planted, and every pair within a family that is below 0.5."""
    alike = [(one, other) for one, other, share in pairs if share >= 0.8]
    found = [pair for pair in alike if family.get(pair[0], "") == family.get(pair[1], "-")]
    text_of = {text.id: text.text for text in texts}
    members: dict[str, list[str]] = defaultdict(list)
    for artifact_id, name in family.items():
        members[name].append(artifact_id)
    below = [
        (one, other)
        for same in members.values()
        for place, one in enumerate(same)
        for other in same[place + 1 :]
        if _jaccard(text_of[one].split(), text_of[other].split()) < 0.5
    ]
    return {
        "planted": len(pairs),
        "planted at 0.8 and above": len(alike),
        "planted below 0.5": sum(share < 0.5 for *_, share in pairs),
        "recall": len(found) / len(alike),
        "families": len(members),
        "merged below 0.5": len(below),
    }


def _jaccard(one: list[str], other: list[str]) -> float:
    a, b = ({tuple(w[i : i + 3]) for i in range(len(w) - 2)} for w in (one, other))
    return len(a & b) / len(a | b)


def split(count: int, seed: int = 0) -> dict[str, float]:
    """Seconds to draw splits of `count` artifacts: alone, in groups, and a tenth that comes later.

    Sixty skewed labels; groups of one to sixty artifacts.
    """
    from handful.steps.prepare.artifacts import Artifact
    from handful.steps.prepare.splitting.groups import Links
    from handful.steps.prepare.splitting.splits import draw

    chance = random.Random(seed)
    artifacts, keys = [], []
    while len(artifacts) < count:
        label, key = f"label {int(60 * chance.random() ** 3)}", len(keys)
        for _ in range(chance.choice([1, 1, 1, 2, 5, 60])):
            artifacts.append(Artifact(f"id-{len(artifacts):07}", label, (), "{}"))
            keys.append((key,))
    artifacts, keys = artifacts[:count], keys[:count]

    def links(shared: list[Any]) -> Links:
        return Links(shared, [None] * len(shared), lambda *_: [])

    shares, seconds = (0.8, 0.1, 0.1), {}
    began = time.perf_counter()
    draw(artifacts, links([()] * count), {}, shares, 0)
    seconds["ungrouped"] = time.perf_counter() - began
    began = time.perf_counter()
    draw(artifacts, links(keys), {}, shares, 0)
    seconds["grouped"] = time.perf_counter() - began
    early = [i for i in range(count) if keys[i][0] % 10 or i % 2]
    before = draw([artifacts[i] for i in early], links([keys[i] for i in early]), {}, shares, 0)
    began = time.perf_counter()
    draw(artifacts, links(keys), before, shares, 0)
    seconds["a tenth later"] = time.perf_counter() - began
    return seconds
