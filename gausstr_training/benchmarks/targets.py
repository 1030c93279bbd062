"""What storing features costs: our packing beside others of the same size, on frames of bags.

`python -m gausstr_training.benchmarks.targets BAGS` prints the table of docs/targets.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.foundation.compact import CompactNetwork
from gausstr_core.foundation.interface import resize_images
from gausstr_training.bags.dataset import open_frames
from gausstr_training.bags.frame import BagFrame
from gausstr_training.bags.sets import BagSettings
from gausstr_training.targets.container import Section
from gausstr_training.targets.feature_codec import Principal, pack_principal
from gausstr_training.targets.networks import TeacherSpec

GRID = (36, 64)  # of the encoder's joined maps, as talk2dino's features
DIRECTIONS = (32, 64, 128)
PLENTY = 2**40


def tokens_of(features: Tensor) -> Tensor:
    """Features [N, C, h, w] -> [N * h * w, C]."""
    return features.movedim(1, -1).reshape(-1, features.shape[1])


def encoder_maps(network: CompactNetwork, frame: BagFrame) -> Tensor:
    """All maps of the network's encoder, each scaled to unit variance: [N, 192, 36, 64].

    They vary along many directions, which the network's own features do not: these come from 64
    channels.
    """
    images = resize_images(frame.images, 512, 896)
    maps = network.encoder((images.permute(0, 3, 1, 2).float() - 127) / 128)
    return torch.cat([F.interpolate(m / m.std(), GRID, mode='area') for m in maps.values()], 1)


def same_range(principal: Principal, directions: int) -> tuple[int, Tensor]:
    """The usual way: so many directions, 8 bits over the range of each; bytes and tokens."""
    coordinates = principal.coordinates[:directions]
    steps = np.abs(coordinates).max(1, keepdims=True) / 127
    whole = np.rint(coordinates / steps).astype(np.int8)
    size = len(Section.of(whole).data) + directions * len(principal.mean)
    tokens = (whole * steps).T @ principal.directions[:directions] + principal.mean
    return size, torch.from_numpy(tokens).float()


def packed(principal: Principal, most: int, *, own: bool = True) -> tuple[int, Tensor]:
    """Our way; not `own`: the directions are those of the data set and cost nothing."""
    grid, free = (1, 1, principal.coordinates.shape[1]), 0
    for _ in range(1 if own else 3):  # how many directions are free follows from how many fit
        features, sections = pack_principal(principal, grid, most + free)
        sizes = {name: len(section.data) for name, section in sections.items()}
        free = 0 if own else sizes['directions']
    return sum(sizes.values()) - free, tokens_of(features.unpacked())


def along(tokens: Tensor, base: Principal) -> Principal:
    """Tokens along the directions of others, those first along which they vary most."""
    directions = torch.from_numpy(base.directions)
    coordinates = (directions @ (tokens - torch.from_numpy(base.mean)).t()).numpy()
    variances = (coordinates.astype(np.float64) ** 2).mean(1)
    order = np.argsort(-variances)
    return replace(
        base,
        variances=variances[order],
        directions=base.directions[order],
        coordinates=np.ascontiguousarray(coordinates[order]),
    )


def rows(tokens: Tensor, base: Principal) -> Iterator[tuple[str, int, Tensor]]:
    """Name, bytes and result of every way to store tokens [T, C]."""
    own = Principal.of(tokens)
    for count in DIRECTIONS:
        if count < tokens.shape[1]:
            size, back = same_range(own, count)
            yield f'{count} directions of the frame, 8 bits each', size, back
            yield '  as stored, same bytes', *packed(own, size)
            yield (
                '  same, directions of the data set',
                *packed(along(tokens, base), size, own=False),
            )
    yield 'as stored, finest', *packed(own, PLENTY)


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr_training.benchmarks.targets', description='What storing features costs.'
    )
    result.add_argument('bags', type=Path, nargs='+', help='the last frame is measured, the '
                        'others make the directions of the data set')  # fmt: skip
    return result


def main() -> None:
    """Run the command line."""
    frames = open_frames(parser().parse_args().bags, BagSettings(period=0.4))
    network = TeacherSpec('compact').load()
    assert isinstance(network, CompactNetwork)
    every = [frames[index] for index in range(len(frames))]
    with torch.no_grad():
        own = [tokens_of(network.encode(frame.images, frame.rig)[0].features) for frame in every]
        encoder = [tokens_of(encoder_maps(network, frame)) for frame in every]
    print(f'{every[-1].key}, directions of the data set from {len(every) - 1} frames')
    for name, tokens in (('compact network', own), ('maps of its encoder', encoder)):
        print(f'{name}: {tokens[-1].shape[1]} channels, {len(tokens[-1])} tokens')
        base = Principal.of(torch.cat(tokens[:-1]))
        started = time.monotonic()
        for way, size, back in rows(tokens[-1], base):
            loss = 1 - F.cosine_similarity(tokens[-1], back, dim=1)
            print(f'| {way} | {size / 1000:.0f} kB | {loss.mean():.5f} | {loss.max():.4f} |')
        print(f'({time.monotonic() - started:.0f} s)')


if __name__ == '__main__':
    main()
