"""The loop: stages one after another, checkpoints, curves, validation, pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from gausstr_training.engine.checkpoints import Checkpoint, CheckpointFolder, as_plain
from gausstr_training.engine.job import Job
from gausstr_training.engine.stage import Stage
from gausstr_training.engine.stepping import Stepper
from gausstr_training.processes import ranks
from gausstr_training.processes.stopping import Stopped, StopRequest, stop_request


class Trainer:
    """Runs the stages of a job; picks up where the last run stopped.

    Only the first process reads and writes checkpoints and curves.

    Args:
        job: what to train.
        output: gets `checkpoints/` and, per stage, `curves/<stage>/` for TensorBoard.

    Raises:
        ValueError: the newest checkpoint is unreadable, or of another recipe or other data.
    """

    def __init__(self, job: Job, output: Path) -> None:
        self.job, self.output = job, output
        self._folder = CheckpointFolder(output / 'checkpoints', job.recipe.keep)
        self.resumed = self._newest()
        self.seconds = 0.0
        if self.resumed is not None:
            job.model.load_state_dict(self.resumed.model)
            self.seconds = self.resumed.seconds

    def run(self) -> None:
        """Train every stage that is not finished.

        Raises:
            Stopped: SIGTERM or SIGINT came; the last step is in a checkpoint.
        """
        first = self.resumed.order if self.resumed else 0
        with stop_request() as request:
            for order, make in enumerate(self.job.stages.values()):
                if order >= first:
                    with closing(make()) as stage:
                        self._run_stage(order, stage, request)

    def _newest(self) -> Checkpoint | None:
        """The newest checkpoint as rank 0 finds it; its trouble is everyone's."""
        found: Checkpoint | ValueError | None = None
        if ranks.rank() == 0:
            try:
                found = self._folder.newest(self.job.recipe, self.job.identity)
            except ValueError as error:
                found = error
        found = ranks.of_first(found)
        if isinstance(found, ValueError):
            raise found
        return found

    def _run_stage(self, order: int, stage: Stage, request: StopRequest) -> None:
        recipe = self.job.recipe
        stepper = Stepper(stage, recipe.ema, self.job.device)
        done = self._restore(order, stage, stepper)
        with _curves(self.output / 'curves' / stage.name, done) as curves:
            bar = tqdm(
                range(done, stage.steps), desc=stage.name, initial=done, total=stage.steps,
                disable=ranks.rank() > 0,
            )  # fmt: skip
            for step in bar:
                started = time.monotonic()
                parts = stepper.step(step)
                self.seconds += time.monotonic() - started
                if step % recipe.log_every == 0:
                    parts = ranks.summed_by_name(parts)
                    curves.numbers(parts, step)
                    bar.set_postfix(loss=f'{parts["loss"]:.3f}')
                self._look(stage, stepper, curves, step + 1)
                stop = ranks.any_of(request.asked, self.job.device)
                due = (step + 1) % recipe.checkpoint_every == 0 or step + 1 == stage.steps
                if due or stop:
                    curves.flush()
                    self._save(order, stage, stepper, step + 1)
                if stop:
                    bar.close()
                    raise Stopped
        stepper.take_average()

    def _look(self, stage: Stage, stepper: Stepper, curves: _Curves, done: int) -> None:
        """Validate and draw, with the averaged weights, when it is time."""
        recipe, last = self.job.recipe, done == stage.steps
        validate = done % recipe.validate_every == 0 or last
        draw = done % recipe.picture_every == 0 or last
        if not (validate or draw):
            return
        with stepper.averaged_weights(), torch.no_grad():
            if validate:
                sums = ranks.summed_by_name(stage.validate())
                frames = sums.pop('frames', 0.0)
                means = {f'validation/{name}': value / frames for name, value in sums.items()}
                curves.numbers(means, done - 1)
            if draw and ranks.rank() == 0:
                curves.pictures(stage.pictures(), done - 1)

    def _restore(self, order: int, stage: Stage, stepper: Stepper) -> int:
        """Put the stage where the checkpoint left it; gives the number of steps done."""
        saved = self.resumed
        if saved is None or saved.order != order:
            return 0
        stage.restore(saved.extras)
        stepper.restore(saved.optimiser, saved.scaler, saved.averaged)
        return saved.step

    def _save(self, order: int, stage: Stage, stepper: Stepper, step: int) -> None:
        if ranks.rank() == 0:
            self._folder.save(
                Checkpoint(
                    recipe=as_plain(self.job.recipe),
                    identity=self.job.identity,
                    order=order,
                    stage=stage.name,
                    step=step,
                    seconds=self.seconds,
                    model=self.job.model.state_dict(),
                    extras=stage.extras(),
                    **stepper.state(),
                )
            )
        ranks.wait()


class _Curves:
    """TensorBoard's files of one stage; nothing on other processes than the first."""

    def __init__(self, writer: SummaryWriter | None) -> None:
        self._writer = writer

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def pictures(self, images: Mapping[str, torch.Tensor], step: int) -> None:
        if self._writer is not None:
            for name, image in images.items():
                self._writer.add_image(name, image, step)

    def flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()


@contextmanager
def _curves(folder: Path, done: int) -> Iterator[_Curves]:
    """Curves that go on at a step: what a killed run wrote beyond it is dropped."""
    if ranks.rank() > 0:
        yield _Curves(None)
        return
    with SummaryWriter(str(folder), purge_step=done if done else None) as writer:
        yield _Curves(writer)
