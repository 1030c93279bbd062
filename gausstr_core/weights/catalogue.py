"""Every file that others publish and we can fetch: one list, also of `gausstr-fetch`.

Sizes in bytes and checksums stand here only where they are known for certain; see fetch.py for the
rest. `about` is what the file's public page says, to know before it is fetched.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gausstr_core.process.command_line import refuse_misplaced
from gausstr_core.process.reasons import told
from gausstr_core.weights.fetch import (
    RemoteFile,
    cache_folder,
    check_sum,
    known_checksum,
    locate,
)

HUB = 'https://huggingface.co/{}/resolve/main/{}'


def _folder(folder: str, repository: str, licence: str, about: str) -> tuple[RemoteFile, ...]:
    """The two files that make a folder which transformers can load."""
    return tuple(
        RemoteFile(f'{folder}/{name}', HUB.format(repository, name), licence, about=size)
        for name, size in (('config.json', '1 kB'), ('model.safetensors', about))
    )


def _metric3d(variant: str, file: str, name: str, about: str) -> RemoteFile:
    return RemoteFile(
        f'metric3d/{name}',
        HUB.format(f'onnx-community/metric3d-{variant}', f'onnx/{file}'),
        'BSD-2-Clause (model), CC0-1.0 (conversion)',
        about=about,
    )


DINOV2 = _folder(
    'dinov2-with-registers-base', 'facebook/dinov2-with-registers-base', 'Apache-2.0', '350 MB'
)
CLIP = RemoteFile(
    'clip-vit-b-16/open_clip_model.safetensors',
    HUB.format('timm/vit_base_patch16_clip_224.openai', 'open_clip_model.safetensors'),
    'MIT (OpenAI), Apache-2.0 (conversion)',
    about='600 MB',
)
TALK2DINO = RemoteFile(
    'talk2dino/vitb_mlp_infonce.pth',
    'https://raw.githubusercontent.com/lorebianchi98/Talk2DINO/main/weights/vitb_mlp_infonce.pth',
    'not stated by its authors',
    size=3940664,
    sha256='5f6efcc520f22916ecf3dfdfb01d6f57e701c1c2e1feda71a80d89e3cd752f0f',
)
FEATUP = RemoteFile(
    'featup/maskclip_jbu_stack_cocostuff.ckpt',
    'https://marhamilresearch4.blob.core.windows.net/feature-upsampling-public/pretrained/'
    'no_norm/maskclip_jbu_stack_cocostuff.ckpt',
    'MIT',
    remark='FeatUp lies at this one address, which refused everybody (HTTP 409) for two days in '
    'November 2025; no second source is known. Features maskclip of preset surface do without it',
)
METRIC3D = _metric3d('vit-large', 'model.onnx', 'metric3d_vit_large.onnx', '1.65 GB')
METRIC3D_HALF = _metric3d('vit-large', 'model_fp16.onnx', 'metric3d_vit_large_fp16.onnx', '825 MB')
METRIC3D_SMALL = _metric3d('vit-small', 'model.onnx', 'metric3d_vit_small.onnx', '151 MB')
METRIC3D_SMALL_HALF = _metric3d(
    'vit-small', 'model_fp16.onnx', 'metric3d_vit_small_fp16.onnx', '75.8 MB'
)
DEPTH_ANYTHING = _folder(
    'depth-anything-v2-metric-outdoor-small',
    'depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf',
    'Apache-2.0',
    '99.2 MB',
)
DEPTH_PRO = _folder('depth-pro', 'apple/DepthPro-hf', 'Apple AMLR (research only)', '1.9 GB')
_RELEASE = 'https://github.com/hustvl/GaussTR/releases/download/v1.0/'
GAUSSTR_TALK2DINO = RemoteFile(
    'gausstr/gausstr_talk2dino_e20_miou12.27.pth',
    f'{_RELEASE}gausstr_talk2dino_e20_miou12.27.pth',
    'MIT',
)
GAUSSTR_FEATUP = RemoteFile(
    'gausstr/gausstr_featup_e24_miou11.70.pth',
    f'{_RELEASE}gausstr_featup_e24_miou11.70.pth',
    'MIT',
)

# what a name on the command line stands for
GROUPS: dict[str, tuple[RemoteFile, ...]] = {
    'dinov2': DINOV2,
    'clip': (CLIP,),
    'talk2dino': (GAUSSTR_TALK2DINO, *DINOV2, CLIP, TALK2DINO, METRIC3D),
    'featup': (GAUSSTR_FEATUP, CLIP, FEATUP, METRIC3D),
    # every combination of preset surface but those with the large Metric3D
    'surface': (CLIP, *DINOV2, TALK2DINO, METRIC3D_SMALL, *DEPTH_ANYTHING),
    'metric3d': (METRIC3D,),
    'metric3d-fp16': (METRIC3D_HALF,),
    'metric3d-small': (METRIC3D_SMALL,),
    'metric3d-small-fp16': (METRIC3D_SMALL_HALF,),
    'depth-anything': DEPTH_ANYTHING,
    'depth-pro': DEPTH_PRO,
}


def locate_folder(files: tuple[RemoteFile, ...], folder: Path | str | None = None) -> Path:
    """The folder that holds all of `files`, fetched where `folder` is not given.

    Raises:
        ValueError: as `locate`, or the files of `folder` do not lie together.
    """
    paths = [locate(file, folder) for file in files]
    if len({path.parent for path in paths}) > 1:
        raise ValueError(f'expected together in one folder: {", ".join(map(str, paths))}')
    return paths[0].parent


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr-fetch',
        description='Fetch published weights into the cache, or check those in a folder.',
        epilog='example: gausstr-fetch talk2dino && rsync -a ~/.cache/gausstr robot:.cache/',
    )
    result.add_argument(
        'groups',
        nargs='+',
        choices=sorted(GROUPS),
        metavar='NAME',
        help=f'what to fetch: {", ".join(sorted(GROUPS))}',
    )
    result.add_argument(
        '--check',
        metavar='FOLDER',
        help='fetch nothing, compare what lies there with known checksums (default: fetch)',
    )
    return result


def main() -> None:
    """Fetch or check published weights from the command line."""
    options = parser().parse_args()
    try:
        refuse_misplaced(options, folders=['--check'])
    except (OSError, ValueError) as error:
        raise SystemExit(f'gausstr-fetch: {told(error)}') from None
    faults: list[str] = []
    digests: dict[str, tuple[RemoteFile, Path]] = {}
    for file in dict.fromkeys(file for group in options.groups for file in GROUPS[group]):
        try:
            path = locate(file, options.check)
            digest = check_sum(file, path)
            _refuse_second_name(file, path, digests.setdefault(digest, (file, path)))
        except (OSError, ValueError) as error:
            faults.append(told(error))
            if not options.check:  # what cannot be fetched now cannot be later
                break
            continue
        known = known_checksum(file, path)
        verdict = f'matches {known}' if known else 'no checksum known'
        print(f'{digest}  {path}  {verdict} ({file.licence})')
    if faults:
        raise SystemExit('gausstr-fetch: ' + '\n'.join(faults))
    if not options.check:
        print(f'all under {cache_folder()}')


def _refuse_second_name(file: RemoteFile, path: Path, first: tuple[RemoteFile, Path]) -> None:
    """Raise ValueError where two published files would be one: `model.safetensors` is many."""
    if first[0] != file:
        raise ValueError(
            f'weights file {path} is taken for {file.name} and, as {first[1]}, for '
            f'{first[0].name}: place each at its own path below the folder'
        )


if __name__ == '__main__':
    main()
