"""gausstr-verify: prove that this installation computes what the released code computes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gausstr_core.process.command_line import Real
from gausstr_core.process.device import present_device
from gausstr_core.process.reasons import told
from gausstr_core.splatting import BACKENDS
from gausstr_core.transformer.checkpoints.files import read_tensors
from gausstr_core.transformer.full.transformer import FullTransformer
from gausstr_training.verification.case import Case, arrays, load_case
from gausstr_training.verification.comparison import (
    Row,
    allow_rounding,
    compare,
    compare_end_to_end,
    table,
)
from gausstr_training.verification.excerpts import with_excerpts
from gausstr_training.verification.stages import (
    loss_arrays,
    predict_arrays,
    reference_points,
    unsplatted_arrays,
)
from gausstr_training.verification.voxels import INPUTS, voxel_arrays

DTYPES = {
    'float32': torch.float32,
    'float64': torch.float64,
    'bfloat16': torch.bfloat16,
    'float16': torch.float16,
}
# Any of these asks for the voxels, which take the longest of all stages.
VOXEL_STAGES = {
    'voxelizer.density',
    'voxelizer.feats',
    'voxelizer.sample_feats',
    'voxelizer.kept_mask',
    'merged_probs',
    'merged_probs.sample',
    'preds',
}
EXAMPLES = """examples:
  gausstr-verify ../shared/reference/small_talk2dino
  gausstr-verify ../shared/reference/small_featup --device cuda --compile
  gausstr-verify cases/mine --dtype bfloat16 --tolerance 3e-2 --gradient-tolerance 0.2

PREFIX.state_dict.safetensors, PREFIX.inputs.npz and PREFIX.meta.json must exist; what
PREFIX.predict.npz, PREFIX.loss.npz and PREFIX.grads.safetensors hold is compared.
An error is the largest difference over the largest value of the array. Where rounding alone
can make an array differ by more than the tolerance, as at full size, the case is run in
float64 too, and five times our own rounding is allowed there; the table says so.
Exit status: 0 all within tolerance, 1 something is not, 2 the case cannot be read or run."""


@dataclass(frozen=True)
class Settings:
    """How to run our side, and what to allow."""

    device: str = 'cpu'
    dtype: str = 'float32'
    compile: bool = False
    splatting: str = 'auto'
    tolerance: float = 1e-4
    gradient_tolerance: float = 1e-3


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog='gausstr-verify',
        description='Compare our model with arrays that the released code wrote.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = Settings()
    result.add_argument('prefix', help='path of a case without its endings')
    result.add_argument(
        '--device',
        default=defaults.device,
        help='torch device: cpu, cuda, cuda:1 (default: %(default)s)',
    )
    result.add_argument(
        '--dtype',
        default=defaults.dtype,
        choices=list(DTYPES),
        help='half precisions run under autocast, as the released training did (default: '
        '%(default)s)',
    )
    result.add_argument('--compile', action='store_true', help='run through torch.compile')
    result.add_argument(
        '--splatting',
        default=defaults.splatting,
        choices=BACKENDS,
        help='who splats; auto: the fastest that is there (default: %(default)s)',
    )
    for name, of in (('tolerance', 'arrays'), ('gradient_tolerance', 'gradients')):
        result.add_argument(
            f'--{name.replace("_", "-")}',
            type=Real(0.0, 100.0),
            default=getattr(defaults, name),
            metavar='E',
            help=f'error of {of} that is allowed, as a share of the largest value (default: '
            '%(default)s)',
        )
    return result


class Verification:
    """One case on one device: what is compared, and what had to be skipped."""

    def __init__(self, prefix: str, settings: Settings) -> None:
        self.prefix, self.settings = prefix, settings
        device = present_device(settings.device)
        self.case: Case = load_case(prefix).to(device, DTYPES[settings.dtype])
        self.kind = self.case.maps.depth.dtype
        self.model: FullTransformer = self.case.checkpoint.model().to(device, self.kind)
        if settings.compile:
            for part in (self.model.neck, *self.model.layers, *self.model.heads):
                part.compile()
        self.skipped: list[str] = []

    def rows(self) -> list[Row]:
        """Every comparison that the files allow.

        Raises:
            ValueError: a file is damaged, or there is nothing to compare.
        """
        predicted = self._arrays('predict.npz')
        stored = predicted.get('reference_points_init')
        reference = reference_points(self.case, stored)
        rows = self._predict(predicted, reference) + self._losses(reference)
        if not rows:
            raise ValueError(f'{self.prefix}: nothing to compare: {", ".join(self.skipped)}')
        if all(row.good for row in rows) or self.settings.dtype != 'float32':
            return rows
        exact = Verification(self.prefix, replace(self.settings, dtype='float64', compile=False))
        own = [side.own_arrays(predicted, stored) for side in (self, exact)]
        return allow_rounding(rows, *own)

    def own_arrays(self, expected: dict[str, Tensor], stored: Tensor | None) -> dict[str, Tensor]:
        """What we compute without being given anything in between, by the names of the rows."""
        reference = reference_points(self.case, stored)
        ours = predict_arrays(self.model, self.case, reference)
        heads = unsplatted_arrays(self.model, self.case, reference)
        return {**with_excerpts(ours, expected, self._patch), **heads}

    def _predict(self, expected: dict[str, Tensor], reference: Tensor) -> list[Row]:
        if not expected:
            return []
        ours = predict_arrays(self.model, self.case, reference)
        if not expected.keys() & VOXEL_STAGES:
            return self._compared(ours, expected)
        own = voxel_arrays(self.case, ours)
        if not all(name in expected for name in INPUTS):
            return self._compared({**ours, **own}, expected)
        # each stage by itself: the voxels of the recorded Gaussians, then those of our own
        rows = self._compared({**ours, **voxel_arrays(self.case, expected)}, expected)
        whole = with_excerpts(own, expected, self._patch)
        return rows + compare_end_to_end(whole, expected, self.settings.tolerance)

    def _losses(self, reference: Tensor) -> list[Row]:
        expected = self._arrays('loss.npz')
        gradients = self._tensors('grads.safetensors')
        if not expected:
            if gradients:
                self.skipped.append('the gradients (they need the directions in loss.npz)')
            return []
        bases = self._bases(expected)
        ours, own = loss_arrays(self.model, self.case, reference, bases, self._backend())
        rows = self._compared(ours, expected)
        named = [
            {f'gradient {name}': value for name, value in group.items()}
            for group in (own, gradients)
        ]
        return rows + compare(*named, self.settings.gradient_tolerance)

    def _bases(self, expected: dict[str, Tensor]) -> list[Tensor]:
        """Principal directions of each head: they were found at random, so they are given."""
        names = [f'head{i}.pca_v' for i in range(len(self.model.heads))]
        missing = [name for name in names if name not in expected]
        if missing:
            raise ValueError(f'{self.prefix}.loss.npz lacks {", ".join(missing)}')
        return [expected[name].to(self.settings.device) for name in names]

    def _backend(self) -> str:
        """Splatting in double precision exists only in plain torch."""
        chosen = self.settings.splatting
        return 'reference' if chosen == 'auto' and self.kind == torch.float64 else chosen

    def _compared(self, ours: dict[str, Tensor], expected: dict[str, Tensor]) -> list[Row]:
        whole = with_excerpts(ours, expected, self._patch)
        return compare(whole, expected, self.settings.tolerance)

    @property
    def _patch(self) -> int:
        """Pixels of the image per pixel of the feature map."""
        return self.case.maps.depth.shape[-1] // self.case.maps.features.shape[-1]

    def _arrays(self, ending: str) -> dict[str, Tensor]:
        path = Path(f'{self.prefix}.{ending}')
        if not path.exists():
            self.skipped.append(path.name)
            return {}
        return {name: torch.from_numpy(value) for name, value in arrays(path).items()}

    def _tensors(self, ending: str) -> dict[str, Tensor]:
        path = Path(f'{self.prefix}.{ending}')
        if not path.exists():
            self.skipped.append(path.name)
            return {}
        return read_tensors(path)[0]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    command = parser()
    options = vars(command.parse_args(arguments))
    prefix = options.pop('prefix')
    try:
        verification = Verification(prefix, Settings(**options))
        rows = verification.rows()
    except (ValueError, OSError) as error:
        command.exit(2, f'gausstr-verify: {told(error)}\n')
    print(f'{verification.case.name}: {_how(verification.settings)}\n\n{table(rows)}')
    for name in verification.skipped:
        print(f'skipped: {name} is not there')
    bad = [row for row in rows if not row.good]
    print(f'{len(rows)} arrays compared, {len(bad)} beyond tolerance')
    for row in bad:
        print(f'  {row.name}: {row.error:.3g} > {row.allowed:g} {row.remark}')
    if bad:
        raise SystemExit(1)


def _how(settings: Settings) -> str:
    compiled = ', compiled' if settings.compile else ''
    return f'{settings.device}, {settings.dtype}{compiled}, splatting {settings.splatting}'


if __name__ == '__main__':
    main()
