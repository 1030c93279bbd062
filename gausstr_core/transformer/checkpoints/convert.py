"""gausstr-convert-checkpoint: released weights into our format, or back."""

from __future__ import annotations

import argparse
from pathlib import Path

from gausstr_core.process.command_line import refuse_misplaced
from gausstr_core.process.reasons import told
from gausstr_core.transformer.checkpoints import checkpoint
from gausstr_core.transformer.checkpoints.files import write_tensors

EXAMPLES = """examples:
  gausstr-convert-checkpoint gausstr_talk2dino_e20_miou12.27.pth talk2dino.safetensors
  gausstr-convert-checkpoint official.pth ours.safetensors --prototypes text_proto_embeds_clip.pth
  gausstr-convert-checkpoint --back ours.safetensors official.safetensors"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog='gausstr-convert-checkpoint',
        description='Convert released weights into our format, or back.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument('source', type=Path, help='an official .pth or .safetensors file')
    result.add_argument('target', type=Path, help='the .safetensors file to write')
    result.add_argument(
        '--prototypes',
        type=Path,
        metavar='FILE',
        help='text prototypes [channels, prompts] (default: those inside the checkpoint)',
    )
    result.add_argument('--back', action='store_true', help='from our format to official names')
    return result


def convert(source: Path, target: Path, prototypes: Path | None = None) -> str:
    """Official file -> ours; returns one line that says what was written.

    Raises:
        ValueError: a file cannot be read, does not fit, or cannot be written.
    """
    found = checkpoint.load_official(source, prototypes)
    checkpoint.save(found, target)
    return f'{target}: {_described(found)}'


def convert_back(source: Path, target: Path) -> str:
    """Our file -> one with official names; returns one line that says what was written.

    Raises:
        ValueError: a file cannot be read, does not fit, or cannot be written.
    """
    found = checkpoint.load(source)
    write_tensors(target, checkpoint.to_official(found), {'format': 'pt'})
    return f'{target}: {_described(found)}'


def _described(found: checkpoint.Checkpoint) -> str:
    config = found.config
    count = sum(value.numel() for value in found.state.values())
    words = 'no text prototypes'
    if found.prototypes is not None:
        words = f'{len(found.prototypes)} text prototypes'
    return (
        f'{count} parameters, {config.feature_dim} channels, {config.queries} queries a view, '
        f'{words}'
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    command = parser()
    options = command.parse_args(arguments)
    if options.target.suffix != '.safetensors':
        command.error(f'the target must end in .safetensors, got {options.target}')
    if options.back and options.prototypes:
        command.error('--prototypes belongs to the way in: our file already holds them')
    try:
        refuse_misplaced(options, files=['source', 'target', '--prototypes'])
        if options.back:
            print(convert_back(options.source, options.target))
        else:
            print(convert(options.source, options.target, options.prototypes))
    except (OSError, ValueError) as error:
        raise SystemExit(f'gausstr-convert-checkpoint: {told(error)}') from None


if __name__ == '__main__':
    main()
