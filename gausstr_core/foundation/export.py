"""gausstr-export: networks of published files as ONNX files, for the engine onnxruntime."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from gausstr_core.foundation.exported import TOLERANCE, write_exported
from gausstr_core.foundation.released import EXPORTABLE, exportable
from gausstr_core.process.command_line import ImageSize, refuse_misplaced
from gausstr_core.process.reasons import told

EXAMPLE = """\
example:
  gausstr-export maskclip --size 400x224 --folder /opt/gausstr --output /opt/gausstr
  gausstr-node --ros-args -p preset:=surface -p engine:=onnxruntime \\
      -p input_size:=[224,400] -p weights_folder:=/opt/gausstr -p depth_source:=topic
"""


def main() -> None:
    """Export from the command line."""
    options = parser().parse_args()
    try:
        refuse_misplaced(options, folders=['--folder', '--output'])
        export(options)
    except (OSError, ValueError) as error:
        raise SystemExit(f'gausstr-export: {told(error)}') from None
    except KeyboardInterrupt:
        raise SystemExit('gausstr-export: interrupted; run it again') from None


def export(options: argparse.Namespace) -> None:
    """Write a file for each network.

    Raises:
        ValueError: a file is missing or does not fit, the size is no multiple, or the file that
            was written differs from torch.
    """
    size = options.size and (options.size[1], options.size[0])
    bar = tqdm(dict.fromkeys(options.networks), unit='network')
    for name in bar:
        bar.set_postfix_str(name)
        module, facts = exportable(name, options.folder, size)
        path, share = write_exported(module, facts, options.output)
        bar.write(
            f'{path}: {path.stat().st_size / 1e6:.0f} MB, differs from torch by {share:.1e} of '
            f'the largest value (at most {TOLERANCE:g} is allowed)'
        )


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr-export',
        description='Write foundation networks as ONNX files and compare them with torch.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add(
        'networks',
        nargs='+',
        choices=EXPORTABLE,
        metavar='NAME',
        help=f'which: {", ".join(EXPORTABLE)} (Metric3D is published as ONNX)',
    )
    add(
        '--size',
        type=ImageSize(),
        metavar='WIDTHxHEIGHT',
        help='of what it sees, multiples of its stride (default: its own)',
    )
    add('--folder', type=Path, help='where published weights lie (default: fetch them)')
    add(
        '--output',
        type=Path,
        help='folder that weights_folder will name (default: the cache of gausstr-fetch)',
    )
    return result


if __name__ == '__main__':
    main()
