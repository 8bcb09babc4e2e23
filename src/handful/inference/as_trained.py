"""A trained model with the settings and functions of its training, where those of now are others.

A `[user]` key that tune has found, or that was changed since, would make another module of the
weights, or other rows of the documents, and nothing would fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handful.errors import Absent
from handful.errors.redaction import HIDDEN
from handful.experiment.context import Experiment, with_values
from handful.inference.choosing import Chosen
from handful.layout import Layout, model_folder
from handful.records import Prepared, Tuned
from handful.settings import counts_no_more, default_of, list_counted_model_settings
from handful.settings.secrets import counts_the_same, is_hashed, variables_in
from handful.storage.base import Store

_ENCODING, LOAD_MODEL = ("get_dataset_features", "encode_data"), "load_model"
_ENTRY = "{} in functions.py"
_OF_THIS_MACHINE = {"CPU_KERNELS"}
"""Keys that say how this machine computes, whatever the model was trained with."""


def as_trained(
    experiment: Experiment, chosen: Chosen, record: Mapping[str, Any]
) -> tuple[Experiment, list[str]]:
    """The experiment as the model was trained, and what of it cannot be had again.

    `record` is what its handful.json says. What the call itself sets (`--set`) is left alone, and
    of the model that was trained last all but what tune has found.
    """
    now = list_counted_model_settings(experiment.settings, chosen.model)
    then = record.get("settings", now)
    store, mine = experiment.store, experiment.layout
    folder, by_call = model_folder(chosen.model), _set_by_call(experiment.overrides)
    only = None if chosen.pinned else _names_set_by_tune(store, mine.tuned_record, folder)
    values, lost = {}, []
    for entry in [*then, *(name for name in now if name not in then)]:
        name = _name(entry)
        before, after = then.get(entry, default_of(entry)), now.get(entry, default_of(entry))
        if before == after or counts_no_more(entry) or name in by_call:
            continue
        if name in _OF_THIS_MACHINE or (only is not None and name not in only):
            continue
        if before is not None and after is not None and counts_the_same(before, after):
            continue
        if before is None or is_hashed(before) or before == HIDDEN:
            lost.append(_describe_lost_entry(entry, before))
        else:
            values[name] = before
    return with_values(experiment, chosen.model, values), lost


def _describe_lost_entry(entry: str, before: str | None) -> str:
    """The entry, and of a secret the variable that its value came from: it is kept nowhere."""
    names = variables_in(before or "")
    return f"{entry} (from the environment variable {' and '.join(names)})" if names else entry


def concerns(
    store: Store, mine: Layout, now: Mapping[str, str], chosen: Chosen, record: Mapping[str, Any]
) -> list[str]:
    """What a person should know of functions that are not those that the model was trained with.

    `now`: the hashes of those of now.
    """
    then = _data_encoder_hashes(store, mine.prepared_record, record if chosen.pinned else None)
    changed = [n for n in _ENCODING if then and then.get(_ENTRY.format(n)) != now.get(n)]
    if not chosen.pinned:
        told = " and ".join(changed)
        return [f"{told} changed since the training: run `handful run`"] if told else []
    if record["made_from"].get(_ENTRY.format(LOAD_MODEL)) != now.get(LOAD_MODEL):
        changed.append(LOAD_MODEL)
    found = []
    if changed:
        told = " and ".join(changed)
        found.append(
            f"{told} changed since {chosen.name} was trained, which may make its answers wrong: "
            "take functions.py as it was then"
        )
    if not then:
        found.append(
            f"whether encode_data is as it was when {chosen.name} was trained is not known any more"
        )
    return found


def _data_encoder_hashes(
    store: Store, key: str, record: Mapping[str, Any] | None
) -> Mapping[str, str]:
    """Entry → hash of what encoded the data of `record`, or of now; empty if nobody knows."""
    if record and record.get("encoded_by"):
        return dict(record["encoded_by"])
    try:
        prepared = Prepared.from_json(store.read(key))
    except (Absent, ValueError, TypeError):
        return {}
    other = record and prepared.data_hash.get(record["model"]) != record["data_hash"]
    return {} if other else prepared.made_from


def _names_set_by_tune(store: Store, key: str, folder: str) -> set[str]:
    try:
        tuned = Tuned.from_json(store.read(key))
    except (Absent, ValueError, TypeError):
        return set()
    return set(tuned.values_for(folder))


def _name(entry: str) -> str:
    """ "[user] POOLING" → "user.POOLING"; "[train] EPOCHS" → "EPOCHS"."""
    section, _, name = entry.removeprefix("[").partition("] ")
    return f"user.{name}" if section == "user" else name


def _set_by_call(overrides: Sequence[str]) -> set[str]:
    found = set()
    for text in overrides:
        section, _, name = text.partition("=")[0].strip().rpartition(".")
        found.add(f"user.{name}" if section == "user" else name)
    return found
