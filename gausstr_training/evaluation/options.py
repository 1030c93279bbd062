"""The command line of gausstr-evaluate."""

from __future__ import annotations

import argparse
from dataclasses import asdict, fields
from pathlib import Path

from gausstr_core.foundation.released import DEPTH_NETWORKS
from gausstr_core.presets import PRESETS
from gausstr_core.process.command_line import Real, Whole
from gausstr_core.remembering import MemorySettings
from gausstr_core.surface_preset import WORDS
from gausstr_training.evaluation.sensing import DEPTHS, LABELS
from gausstr_training.streets.grids import RESOLUTION

EXAMPLES = """examples:
  gausstr-evaluate --preset compact streets/test --json scores.json
  gausstr-evaluate --preset compact --calibrate streets/validation --output thresholds.json
  gausstr-evaluate --weights runs/compact/compact.safetensors --update-card streets/test
  gausstr-evaluate --drives drives --json memory.json
  gausstr-evaluate --depth lidar --resolution 0.2 streets/test --validation streets/validation
  gausstr-evaluate --weights runs/paper/compact.safetensors streets/test \\
      --report reports/paper --compare reports/released reports/no_blur
  gausstr-evaluate --occ3d data/nuscenes/gts --predictions predictions --json scores.json
  gausstr-evaluate --preset talk2dino --weights runs/t/talk2dino.safetensors --device cuda \\
      --bags bags/val --occ3d data/nuscenes/gts --predictions predictions"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog='gausstr-evaluate',
        description='Score a preset on streets with truth, beside its rivals.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_model(result)
    _add_thresholds(result.add_argument_group('thresholds'))
    _add_drives(result.add_argument_group('drives'))
    _add_occ3d(result.add_argument_group('keyframes of bags, with Occ3D labels'))
    _add_report(result.add_argument_group('report'))
    return result


def _add_model(result: argparse.ArgumentParser) -> None:
    result.add_argument(
        'streets', nargs='*', type=Path, metavar='DIR', help='a street, or a folder of streets'
    )
    result.add_argument(
        '--preset', default='compact', choices=list(PRESETS), help='model (default: %(default)s)'
    )
    result.add_argument('--weights', help="a file, or 'untrained' (default: the shipped ones)")
    result.add_argument(
        '--device', default='cpu', help='torch device: cpu, cuda, cuda:1 (default: %(default)s)'
    )
    result.add_argument(
        '--depth',
        default=DEPTHS[0],
        choices=DEPTHS,
        help="of the streets' frames: that of the network; or measured, by a perfect depth camera "
        'or by a lidar that sweeps the street (default: %(default)s)',
    )
    result.add_argument(
        '--labels',
        default=LABELS[0],
        choices=LABELS,
        help="of the streets' frames: the network's features, or the renderer's classes "
        '(default: %(default)s)',
    )
    result.add_argument(
        '--resolution',
        type=Real(0.01, 10),
        default=RESOLUTION,
        metavar='METRES',
        help='of the grid; the streets need truth of it, see gausstr-synthesize --resolution '
        '(default: %(default)s)',
    )
    result.add_argument(
        '--limit',
        type=Whole(1, 10**6),
        metavar='N',
        help='score only the first N streets (default: all)',
    )
    result.add_argument(
        '--json', type=Path, metavar='FILE', help='write the scores there (default: nowhere)'
    )


def _add_thresholds(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--validation',
        nargs='+',
        type=Path,
        metavar='DIR',
        help='choose the thresholds on these streets instead of taking those of the weights '
        '(default: those of the weights)',
    )
    group.add_argument(
        '--calibrate',
        nargs='+',
        type=Path,
        metavar='DIR',
        help='only choose thresholds and temperature on these streets and write them to --output '
        '(default: score)',
    )
    group.add_argument(
        '--output', type=Path, metavar='FILE', help='of --calibrate, without which: no default'
    )
    group.add_argument(
        '--update-card',
        action='store_true',
        help='also write the thresholds, or the scores, into the card beside --weights',
    )


def _add_drives(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--drives',
        nargs='+',
        type=Path,
        metavar='DIR',
        help='only map these drives frame by frame, alone and with a memory, and compare; they '
        'need truth of what moves, see gausstr-synthesize --moving (default: score streets)',
    )
    for name, default in asdict(MemorySettings()).items():
        group.add_argument(
            f'--memory-{name.replace("_", "-")}',
            type=Real(1e-3, 1e6),
            default=default,
            metavar='NUMBER',
            help=f'as the parameter memory.{name} of the node (default: %(default)s)',
        )


def memory_settings(arguments: argparse.Namespace) -> MemorySettings:
    """The memory that the command line describes."""
    return MemorySettings(
        **{
            field.name: getattr(arguments, f'memory_{field.name}')
            for field in fields(MemorySettings)
        }
    )


def _add_occ3d(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--occ3d',
        type=Path,
        metavar='GTS',
        help='only score --predictions against these label files; also under torchrun '
        '(default: score streets)',
    )
    group.add_argument(
        '--predictions',
        type=Path,
        metavar='DIR',
        help='<scene>/<token>/labels.npz with semantics, labels 0..17; goes with --occ3d '
        '(no default)',
    )
    group.add_argument(
        '--bags',
        nargs='+',
        type=Path,
        default=[],
        metavar='DIR',
        help='first make the --predictions that are missing, from the keyframes of these bags '
        'with --preset and --weights (default: make none)',
    )
    group.add_argument(
        '--allow-missing',
        action='store_true',
        help='of --bags: score the others where keyframes have no frame (default: an error)',
    )
    group.add_argument(
        '--folder',
        type=Path,
        metavar='DIR',
        help='of --bags: where published weights lie (default: the cache)',
    )
    group.add_argument(
        '--features',
        choices=list(WORDS),
        help='of --bags, with --preset surface: feature network (default: maskclip)',
    )
    group.add_argument(
        '--depth-network',
        choices=DEPTH_NETWORKS,
        help='of --bags: depth network of published presets and surface (default: its own)',
    )


def _add_report(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--report',
        type=Path,
        metavar='DIR',
        help='write DIR/index.html with tables, bars and pictures, and DIR/scores.json '
        '(default: no report)',
    )
    group.add_argument(
        '--compare',
        nargs='+',
        type=Path,
        default=[],
        metavar='DIR',
        help='earlier reports on the same frames, a column for each (default: none)',
    )
    group.add_argument(
        '--worst',
        type=Whole(0, 1000),
        default=4,
        metavar='N',
        help='how many of the worst frames to show (default: %(default)s)',
    )
