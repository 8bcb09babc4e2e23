"""Several machines of one's own for one step: each is told the same, and which of them it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from handful.errors import UserError
from handful.experiment.context import Experiment
from handful.experiment.forgotten import refuse_half_forgotten
from handful.pipeline.open_backend import open_backend
from handful.pipeline.production import refuse_overlap
from handful.pipeline.run import run
from handful.pipeline.step import Choice, get_record
from handful.pipeline.step_status import as_it_stands
from handful.pipeline.steps import STEPS
from handful.records import Reconciled
from handful.user_functions.source_hash import function_hashes


def prepare_share(experiment: Experiment, worker: int, of: int, *, sent: bool = False) -> None:
    """Encode one of `of` machines' shares of the shards; a last `prepare` joins them all.

    `sent`: it is a job's, whose settings are not quite those of home, where its driver has compared
    them with what stands in the store. `UserError` if reconcile has not been done, or there is no
    such machine.
    """
    from handful.steps.prepare import Share, encode_share
    from handful.storage.lock import hold_lock

    if not 0 <= worker < of:
        raise UserError(
            f"there is no worker {worker} of {of}",
            where="--worker",
            remedy=f"workers are counted from 0, so the last one is {max(of - 1, 0)}",
        )
    refuse_overlap(experiment.settings, experiment.store, experiment.directory)
    first = STEPS[0]
    reconciled = get_record(
        {first.name: as_it_stands(experiment, first, {}, judged=sent)}, Reconciled
    )
    doing = f"prepare, worker {worker} of {of}, of {experiment.settings.experiment.NAME}"
    folder = f"{experiment.layout.prepared_lock}-worker-{worker}"
    with hold_lock(experiment.store, folder, doing) as held:
        refuse_half_forgotten(experiment.store, experiment.directory)
        mine = replace(experiment, store=held.store)
        count = encode_share(mine, reconciled, Share(worker, of))
    experiment.progress.note(f"prepare: worker {worker} of {of} has encoded {count:,} shards")


def train_together(experiment: Experiment, choice: Choice, hosts_file: Path, port: int) -> None:
    """Train on several machines: on the first of them the step itself, on the others their part.

    Nothing but the training itself is done on the others; they write nothing of their own.
    """
    from handful.backends.launch import Hosts
    from handful.backends.nodes import Nodes, follow
    from handful.steps.train import processes_here

    if open_backend(experiment).managed_steps:
        raise UserError(
            "starts its machines by itself",
            where="[compute] BACKEND",
            remedy="leave --hosts out, or --set compute.BACKEND=local",
        )
    hosts, here = Hosts.read(hosts_file), processes_here(experiment.settings)
    if hosts.rank:
        function_hashes(experiment.directory)
        jobs = follow(experiment.directory, hosts, port, here, experiment.progress)
        experiment.progress.note(f"train: {hosts.hosts[0]} is done; {jobs} trained together")
        return
    nodes = Nodes(hosts, port)
    run(experiment, replace(choice, trainers=nodes))
    nodes.part(experiment.directory, experiment.progress, here)
