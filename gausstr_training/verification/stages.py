"""Our own version of every array in the reference files."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians
from gausstr_core.splatting import splat
from gausstr_core.transformer.checkpoints.checkpoint import Checkpoint, to_official
from gausstr_core.transformer.full.gaussian_head import GaussianHead, HeadOutput
from gausstr_core.transformer.full.transformer import FullTransformer
from gausstr_training.losses.released import Targets, head_losses, total
from gausstr_training.verification.case import Case
from gausstr_training.verification.recorder import Recorder

Arrays = dict[str, Tensor]


def reference_points(case: Case, stored: Tensor | None) -> Tensor:
    """[M, Q, 2] the random points of the reference run: stored, or drawn again from its seed."""
    if stored is not None:
        return stored.to(case.maps.depth)
    generator = torch.Generator().manual_seed(case.seed)
    shape = (len(case.rig), case.checkpoint.config.queries, 2)
    return torch.rand(shape, generator=generator).to(case.maps.depth)


def run_model(model: FullTransformer, case: Case, reference: Tensor) -> list[HeadOutput]:
    """All heads of all scenes."""
    with torch.autocast(reference.device.type, dtype=case.half, enabled=case.half is not None):
        return model.refine(
            case.maps, case.rig, scenes=case.scenes, reference=reference, focal=case.focal
        )


@torch.no_grad()
def predict_arrays(model: FullTransformer, case: Case, reference: Tensor) -> Arrays:
    """Neck, decoder layers, and the Gaussians that go into the voxels."""
    with Recorder(model) as seen:
        outputs = run_model(model, case, reference)
    sizes = [tuple(seen.arrays[f'neck.level{i}'].shape[-2:]) for i in range(4)]
    counts = torch.tensor([h * w for h, w in sizes])
    ours: Arrays = {
        **seen.arrays,
        'reference_points_init': reference,
        'spatial_shapes': torch.tensor(sizes),
        'level_start_index': counts.cumsum(0) - counts,
        **{f'layer{i}.reference_points_out': o.state.points for i, o in enumerate(outputs)},
    }
    last = outputs[-1].gaussians
    given = {
        'means3d': last.means,
        'opacities': last.opacities[:, None],
        'covariances': last.covariances,
    }
    prototypes = case.checkpoint.prototypes
    if prototypes is not None:
        given['features'] = (last.features @ prototypes.T.to(last.features)).softmax(-1)
    for name, value in given.items():
        ours[f'voxelizer.in.{name}'] = value.unflatten(0, (case.scenes, -1))
    return ours


def loss_arrays(
    model: FullTransformer,
    case: Case,
    reference: Tensor,
    bases: list[Tensor],
    backend: str,
) -> tuple[Arrays, Arrays]:
    """Heads, splatted images and losses; then the gradient of every official parameter.

    Args:
        model: in evaluation mode: the reference run had no dropout.
        case: what to run.
        reference: [M, Q, 2].
        bases: per head [C, D], the principal directions of the reference run.
        backend: of `splatting.splat`.
    """
    outputs = run_model(model, case, reference)
    ours: Arrays = {}
    losses: Arrays = {}
    targets = Targets(case.maps.features, case.maps.depth, case.segments)
    for index, (output, basis) in enumerate(zip(outputs, bases, strict=True)):
        reduced = output.gaussians.features @ basis.to(output.gaussians.features)
        drawn = _drawn(replace(output.gaussians, features=reduced), case, backend)
        head = model.heads[index]
        assert isinstance(head, GaussianHead)
        found = head_losses(
            drawn[:, :-1],
            drawn[:, -1],
            targets,
            basis,
            case.checkpoint.config.depth_limit,
            head.segment,
        )
        losses |= {f'{name}/{index}': value for name, value in found.items()}
        ours |= {f'head{index}.{k}': v for k, v in _head_arrays(output, case).items()}
        ours[f'head{index}.features_pca'] = _by_scene(reduced, case)
        ours[f'head{index}.rendered'] = _by_scene(drawn, case)
    summed = total(losses)
    gradients = _gradients(model, case.checkpoint, summed)
    ours |= {f'loss.{name}': value for name, value in losses.items()}
    ours['loss.total'] = summed
    return {name: value.detach() for name, value in ours.items()}, gradients


@torch.no_grad()
def unsplatted_arrays(model: FullTransformer, case: Case, reference: Tensor) -> Arrays:
    """The arrays of all heads that need neither splatting nor principal directions."""
    outputs = run_model(model, case, reference)
    return {
        f'head{index}.{name}': value
        for index, output in enumerate(outputs)
        for name, value in _head_arrays(output, case).items()
    }


def _head_arrays(output: HeadOutput, case: Case) -> Arrays:
    gaussians, queries = output.gaussians, output.points.shape[1]
    per_scene = {
        'means3d': gaussians.means,
        'opacities': gaussians.opacities,
        'scales': gaussians.scales,
        'rotations': gaussians.rotations,
        'deltas': output.deltas,
        'ref_pts': output.points,
        'sample_depth': output.sampled_depth,
        'scale_raw': output.raw_scales,
    }
    ours = {name: _by_scene(value, case) for name, value in per_scene.items()}
    for name, value in (('features', gaussians.features), ('covariances', gaussians.covariances)):
        ours[name] = value.unflatten(0, (case.scenes, case.views, queries))
    return ours


def _by_scene(value: Tensor, case: Case) -> Tensor:
    return value.unflatten(0, (case.scenes, -1))


def _drawn(gaussians: Gaussians, case: Case, backend: str) -> Tensor:
    """[M, D + 1, H, W] what each scene's cameras see of its Gaussians; depth comes last."""
    height, width = case.rig.image_sizes[0]
    per_scene = len(gaussians) // case.scenes
    images = []
    for scene in range(case.scenes):
        part = slice(scene * per_scene, (scene + 1) * per_scene)
        own = Gaussians(*(getattr(gaussians, name)[part] for name in vars(gaussians)))
        cameras = _cameras(case.splat_rig, scene * case.views, case.views)
        seen = splat(own, cameras, height, width, backend=backend)
        images.append(torch.cat([seen.features, seen.depth[:, None]], dim=1))
    return torch.cat(images)


def _cameras(rig: CameraRig, first: int, count: int) -> CameraRig:
    return rig.select(rig.names[first : first + count])


def _gradients(model: FullTransformer, checkpoint: Checkpoint, loss: Tensor) -> Arrays:
    """Gradients under official names; parameters that the loss does not reach have zero."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    own = {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for name, parameter, gradient in zip(names, parameters, found, strict=True)
    }
    return to_official(replace(checkpoint, state=own, prototypes=None))
