"""The training loop: short, of our own, because a resumed run has to end bit for bit the same.

    train to the next evaluation → validate → checkpoint → … → the best weights

Everything that a step depends on is either in the checkpoint (weights, optimizer, random state) or
a pure function of the step's number (its batch, its learning rate). Accelerate brings the device
and the arithmetic. In a team every process takes its share of each batch, and what is decided is
decided together; the learning rate is set once a step, however many they are.
"""

from __future__ import annotations

import json
import math
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from handful.errors import UserError
from handful.jobs.log_metrics import best_line, validation_line
from handful.progress import Progress
from handful.settings import Steps
from handful.training.cpu.compiling import compile_torch_model
from handful.training.cpu.kernels import cpu_kernels, use_cpu_kernels
from handful.training.cpu.micro_batches import positions_at_once
from handful.training.data.batches import Indices, epoch_batches, parts, share
from handful.training.evaluation.metrics import (
    describe_non_finite_metrics,
    replace_non_finite_metrics,
)
from handful.training.evaluation.prediction import Predicted, predict
from handful.training.loop import optimizer as optimizing
from handful.training.loop.auto_batch import largest, out_of_memory
from handful.training.loop.checkpoints import Checkpoint, Checkpoints
from handful.training.loop.forecast import Forecast
from handful.training.loop.parallel_strategy import WHOLE, held
from handful.training.loop.state import RunState, random_state, set_random_state
from handful.training.loop.stopping import Stopping
from handful.training.loop.train_context import Work
from handful.training.loop.train_metrics import Meter
from handful.training.loop.validate import compute_validation_metrics
from handful.training.model.frozen_layers import call_with_states

if TYPE_CHECKING:
    from accelerate import Accelerator


class _Stopped(Exception):
    pass


class Loop:
    """Trains one model; `run` to the end, `restore` before it to go on from a checkpoint."""

    def __init__(
        self,
        work: Work,
        model: torch.nn.Module,
        accelerator: Accelerator,
        checkpoints: Checkpoints,
        environment: dict[str, Any],
        progress: Progress,
        stopping: Stopping,
    ) -> None:
        self.work, self._accelerator, self._checkpoints = work, accelerator, checkpoints
        self.environment, self._progress, self._stopping = environment, progress, stopping
        self.plan = work.plan
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.state = RunState(batch_size=self.plan.batch_size, examples=self.plan.examples)
        self.pruned = False
        """Was it a trial that is not worth its remaining epochs?"""
        section = work.section
        self._team = work.team
        self._kernels = use_cpu_kernels(section.CPU_KERNELS, progress)
        self._positions = 0
        # All go through a sharded model together, and a compiled one is so for shapes.
        parted = section.SHARDING == WHOLE and not section.COMPILE
        if accelerator.device.type == "cpu" and parted:
            most = -(-self.plan.batch_size // work.team.size)
            longest = int(work.train.lengths.max(initial=0))
            self._positions = positions_at_once(model, section.MICRO_BATCHES, longest, most)
        self._held = held(model, work, accelerator)
        self.best = model
        """After `run`, on the leader: the whole model, with the weights of the best validation."""
        self._forward = (
            compile_torch_model(self._held.model, accelerator.device)
            if section.COMPILE
            else self._held.model
        )
        self._forecast = Forecast(self.plan.total_steps)
        self._meter = self._new_meter()
        self._written = self._clock = time.monotonic()
        self._undefined: set[str] = set()
        """Metrics of which it was told that they were no number."""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from `checkpoint`."""
        self.state = checkpoint.state
        self.plan = replace(self.plan, shift=self.state.shift)
        self._held.fill(checkpoint.load_weights)
        tensors = checkpoint.tensors()
        self._held.fill_optimizer(tensors["optimizer"])
        if self._accelerator.scaler is not None and tensors["scaler"]:
            self._accelerator.scaler.load_state_dict(tensors["scaler"])
        set_random_state(tensors["random"][self._team.rank])
        self._meter = self._new_meter()

    def unwrap_best(self) -> torch.nn.Module:
        """`best` as it was before Accelerate took it."""
        whole: torch.nn.Module = self._accelerator.unwrap_model(self.best, keep_fp32_wrapper=False)
        return whole

    def run(self) -> RunState:
        """Train to the end; `best` is then the model of the best validation.

        Raises `StepError` when the loss is no number, when the memory does not suffice, and, with
        a checkpoint written, on SIGTERM; `Interrupted` on Ctrl-C.
        """
        self._clock = time.monotonic()
        self._held.model.train()
        if self.work.begins_judged and self.state.best_value is None and not self.state.step:
            self._judge_beginning()
        while not self._is_training_over():
            self._train_to(self.plan.next_evaluation(self.state.step, self.state.validated))
            self._validate()
            self._save()
        self.best = self._held.gathered()
        if self.state.best_step != self.state.step and self._team.leads:
            self._checkpoints.at(self.state.best_step).load_weights(self.best)
        if self.state.best_value is not None:
            told = self.work.section.METRIC, self.state.best_value
            self._progress.note(best_line(self.work.name, self.state.best_epoch, told))
        return self.state

    def _new_meter(self) -> Meter:
        fp16 = self.environment["precision"] == "fp16"
        total = self.plan.total_steps
        return Meter(self.work.train, self.state, total, fp16, self.work.team, self._parts)

    @property
    def per_device(self) -> int:
        """Examples that one process takes at once."""
        return self.state.per_device

    def fit(self) -> None:
        """Find out how many examples a process takes at once, unless a checkpoint has told it.

        How a batch is cut decides how its sums are rounded, so a resumed run cuts as it did.
        """
        most = -(-self.plan.batch_size // self._team.size)
        module, section = self._held.module, self.work.section
        if not self.state.per_device:
            self.state.positions = self._team.least(self._positions)
        if not section.AUTO_BATCH:
            self.state.per_device = most
        if self.state.per_device:
            return

        def attempt(indices: Indices) -> None:
            batch = self._batch(indices)
            with self._cpu_kernels():
                self._accelerator.backward(
                    self.work.objective(call_with_states(module, batch), batch)
                )
            self._held.optimizer.zero_grad()

        module.train()
        self.state.per_device = self._team.least(largest(attempt, self.work.train, most, module))

    def _is_training_over(self) -> bool:
        patience = self.work.section.EARLY_STOPPING_PATIENCE
        if patience is not None and self.state.waited >= patience:
            self._progress.note(
                f"{self.work.name}: stopped early after epoch "
                f"{self.plan.epoch_at(self.state.step):g}: {self.work.section.METRIC} was best "
                f"after epoch {self.state.best_epoch:g}"
            )
            return True
        if self.state.validated >= self.plan.total_steps:
            return True
        if self.state.validated == self.state.step and self.work.pruning:
            self.pruned = self.work.pruning.hopeless(self.seen())
        if self.pruned:
            epoch = self.plan.epoch_at(self.state.step)
            self._progress.note(f"{self.work.name}: given up after epoch {epoch:g}")
        return self.pruned

    def seen(self) -> list[float]:
        """METRIC after each validation so far, of the model as it began not."""
        told = [line for line in self.state.history if "validation" in line]
        lines = [line["validation"] for line in told if line["step"]]
        return [float(line[self.work.section.METRIC]) for line in lines]

    # --- training ----------------------------------------------------------------------------

    def _train_to(self, end: int) -> None:
        if self.state.step >= end:
            return  # resumed between an epoch's last step and its validation
        epoch, _ = self.plan.place(self.state.step)
        lengths, size = self.work.train.lengths, self.plan.batch_size
        cuts = self.state.cuts_of(epoch)
        batches = epoch_batches(lengths, size, self.work.seed, epoch, self.work.smallest, cuts)
        # Counted from the epoch's end: its first steps may have been of other sizes.
        left = batches[len(batches) - (self.plan.end_of(epoch) - self.state.step) :]
        for indices in left[: end - self.state.step]:
            self._step(indices)
            self.state.step += 1
            self._tell_forecast()
            look, stop, save = self._team.any(
                self._meter.due, self._stopping.heard is not None, self._late()
            )
            if look:
                self._tell()
            if stop:
                self._leave()
            if save:
                self._save()
        self._tell()

    def _late(self) -> bool:
        """Is a checkpoint due?"""
        every = self.work.section.CHECKPOINT_EVERY
        if isinstance(every, Steps):
            return self.state.step % every == 0
        return time.monotonic() - self._written >= every

    def _step(self, indices: Indices) -> None:
        optimizing.set_learning_rate(self._held.optimizer, self._rate())
        mine = share(indices, self._team.rank, self._team.size)
        # Who gets nothing of a last, small batch goes along with an example that does not count.
        pieces = self._parts(mine) or [indices[:1]]
        counted = self.work.objective.mass(self.work.train.references[indices])
        loss = torch.zeros((), device=self._accelerator.device)
        for number, piece in enumerate(pieces, start=1):
            weight = self.work.objective.mass(self.work.train.references[piece]) / counted
            ready = number == len(pieces)
            loss += self._backward(piece, weight if len(mine) else 0.0, exchange=ready)
        self._meter.add(indices, loss, self._held.step())

    def _parts(self, indices: Indices) -> list[Indices]:
        """What this process takes at once of its part of a batch."""
        lengths, state = self.work.train.lengths, self.state
        if self.work.smallest > 1:  # no part of a single example is left over
            return np.array_split(indices, max(1, -(-len(indices) // state.per_device)))
        equal = self.work.collate.equal_lengths
        return parts(indices, lengths, state.per_device, state.positions, equal=equal)

    def _batch(self, indices: Indices) -> dict[str, torch.Tensor]:
        batch = self.work.train.tensors(indices, self.work.collate)
        device = self._accelerator.device
        return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}

    def _backward(self, indices: Indices, weight: float, *, exchange: bool) -> torch.Tensor:
        """Add the gradient of a part of the batch; its part of the batch's loss."""
        batch = self._batch(indices)
        try:
            with self._held.exchanging(exchange), self._cpu_kernels():
                loss = self.work.objective(call_with_states(self._forward, batch), batch) * weight
                # The processes' gradients are averaged, but they are parts of a sum.
                self._accelerator.backward(loss * self._team.size)
        except RuntimeError as error:
            clear = out_of_memory(error, len(indices), batch)
            if clear is None:
                raise
            raise clear from error
        return loss.detach()

    def _cpu_kernels(self) -> AbstractContextManager[object]:
        device, compiled = self._accelerator.device, self.work.section.COMPILE
        return cpu_kernels(device, compiled=compiled, on=self._kernels)

    def _rate(self) -> float:
        shift = self.plan.shift
        return optimizing.learning_rate_at(
            self.state.step - shift,
            self.plan.total_steps - shift,
            self.work.recipe.learning_rate,
            self.work.section.WARMUP,
        )

    def _tell(self) -> None:
        epoch = self.plan.epoch_at(self.state.step)
        figures = self._meter.look(self._held.optimizer.param_groups[0]["lr"], epoch)
        self._progress.advance(
            f"train {self.work.name}",
            self.state.step,
            self.plan.total_steps,
            "steps",
            {**figures, "padding": f"{figures['padding']:.1%}"},
        )
        self.work.tracking.follow(self.state.history)

    def _tell_forecast(self) -> None:
        found = self._forecast.step(self.state.step)
        if found:
            self._progress.note(f"{self.work.name}: {found}")

    # --- validation --------------------------------------------------------------------------

    def _validate(self) -> None:
        try:
            predicted = self._predict_validation()
        except _Stopped:
            self._leave()
        section = self.work.section
        metrics, by_label = compute_validation_metrics(self.work, predicted)
        epoch = self.plan.epoch_at(self.state.step)
        shown = {"loss": predicted.loss, **by_label, **metrics}
        self._tell_undefined(shown)
        value, written = metrics[section.METRIC], replace_non_finite_metrics(metrics)
        best = self.state.take(value, written, epoch, section.METRIC_GOAL)
        self.state.history.append(
            {
                "step": self.state.step,
                "epoch": round(epoch, 4),
                "validation": replace_non_finite_metrics(shown),
            }
        )
        told = section.METRIC, value
        self._progress.note(validation_line(self.work.name, epoch, told, predicted.loss, best))
        self.work.tracking.follow(self.state.history)
        self._meter.restart_clock()

    def _judge_beginning(self) -> None:
        """Validate the model before the first step. What its metrics do not bear then is no fault:
        it may be that no metric is defined of what it answers so early."""
        try:
            self._validate()
        except UserError as error:  # on all of a team; a stop, and what one alone meets, is none
            self._progress.warn(f"{self.work.name}: not judged before the first step: {error}")
        else:
            self._save()

    def _tell_undefined(self, metrics: dict[str, float]) -> None:
        told = describe_non_finite_metrics(
            {n: v for n, v in metrics.items() if n not in self._undefined}
        )
        if told:
            epoch = self.plan.epoch_at(self.state.step)
            self._undefined |= {n for n, v in metrics.items() if not math.isfinite(v)}
            self._progress.warn(f"{self.work.name}: epoch {epoch:g}: {told}")

    def _predict_validation(self) -> Predicted:
        name = f"validate {self.work.name}"
        total = len(self.work.validation)

        def tick(done: int) -> None:
            # All leave together: somebody would wait for ever for the one that left alone.
            if self._team.any(self._stopping.heard is not None)[0]:
                raise _Stopped
            self._progress.advance(name, done, total, "documents")

        # Not through DDP, whose forward waits for the others at every batch.
        return predict(
            self._held.module,
            self.work.validation,
            self.work.collate,
            self.per_device,
            self.work.labels,
            tick,
            self._team,
            kernels=self._kernels,
        )

    # --- checkpoints -------------------------------------------------------------------------

    def _save(self) -> None:
        self._tell()  # a loss that is no number must not reach a checkpoint
        now = time.monotonic()
        self.state.seconds += now - self._clock
        self._clock = now
        scaler = self._accelerator.scaler
        tensors = {
            "optimizer": self._held.optimizer_state(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "random": self._team.collect(random_state()),
        }
        whole = self._held.gathered()
        if self._team.leads:
            self._checkpoints.save(whole, tensors, self.state, self.environment, self.work.about)
            lines = "".join(json.dumps(line) + "\n" for line in self.state.history)
            store, key = self.work.log
            store.write(key, lines.encode())
        self._team.wait()
        self._written = time.monotonic()

    def _leave(self) -> None:
        self._stopping.reached()
        self._save()
        raise self._stopping.error(self.state.step)
