"""Networks in ONNX files, run by onnxruntime one image at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gausstr_core.foundation.interface import IMAGENET_MEAN, IMAGENET_STD
from gausstr_core.weights.first_bytes import refuse_stand_in

OUTPUTS = ('predicted_depth', 'pred_depth')  # of the public exports of Metric3D


class OnnxGraph(nn.Module):
    """Planes [N, 3, h, w] -> the first output of a graph [N, ...], float32.

    Args:
        path: the file; weights beside it (.onnx_data) are found by onnxruntime.

    Raises:
        ValueError: onnxruntime is missing, or the file cannot be read or has another form.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._sessions = {'cpu': _session(path, 'cpu')}
        inputs = self._sessions['cpu'].get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ValueError(
                f'ONNX file {path}: expected one input [N, 3, h, w], got '
                f'{[(entry.name, entry.shape) for entry in inputs]}'
            )
        self._input = inputs[0].name
        self._half = inputs[0].type == 'tensor(float16)'
        self.outputs = [entry.name for entry in self._sessions['cpu'].get_outputs()]
        self._output = self.outputs[0]
        height, width = inputs[0].shape[2:]
        fixed = isinstance(height, int) and isinstance(width, int)
        # (height, width) where the graph takes no other
        self.image_size: tuple[int, int] | None = (height, width) if fixed else None

    @torch.no_grad()
    def forward(self, planes: Tensor) -> Tensor:
        """Run the graph on the device of `planes`."""
        session = self._on(planes.device)
        host = planes.cpu().numpy().astype(np.float16 if self._half else np.float32)
        # the public graphs are exported for one image
        maps = [session.run([self._output], {self._input: image[None]})[0] for image in host]
        return torch.from_numpy(np.concatenate(maps)).float().to(planes.device)

    def _on(self, device: torch.device) -> Any:
        if device.type not in self._sessions:
            self._sessions[device.type] = _session(self.path, device.type)
        return self._sessions[device.type]


class OnnxNetwork(OnnxGraph):
    """Normalised images [N, 3, h, w] -> the graph's depth [N, h, w].

    Args:
        path: as of `OnnxGraph`.
        pixels_in: the graph normalises by itself and wants RGB 0..255.

    Raises:
        ValueError: as `OnnxGraph`, or no output is one of depth.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, path: Path, pixels_in: bool) -> None:
        super().__init__(path)
        self.pixels_in = pixels_in
        known = [name for name in OUTPUTS if name in self.outputs]
        if not known and len(self.outputs) > 1:
            raise ValueError(
                f'ONNX file {path}: expected an output {" or ".join(OUTPUTS)}, got {self.outputs}'
            )
        self._output = known[0] if known else self.outputs[0]
        shape = (1, 3, 1, 1)
        self.register_buffer(
            'mean', 255 * torch.tensor(IMAGENET_MEAN).view(shape), persistent=False
        )
        self.register_buffer('std', 255 * torch.tensor(IMAGENET_STD).view(shape), persistent=False)

    @torch.no_grad()
    def forward(self, planes: Tensor) -> Tensor:
        """Run the graph on the device of `planes`."""
        if self.pixels_in:
            planes = planes * self.std.to(planes) + self.mean.to(planes)
        depth = super().forward(planes)
        return depth.reshape(len(planes), *depth.shape[-2:])


def _session(path: Path, device: str) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(
            f"{path.name} needs onnxruntime: pip install 'gausstr_ros[foundation]' "
            '(onnxruntime-gpu for CUDA)'
        ) from None
    if not path.is_file():
        raise ValueError(f'there is no ONNX file {path}')
    refuse_stand_in(path)
    provider = {'cpu': 'CPUExecutionProvider', 'cuda': 'CUDAExecutionProvider'}.get(device)
    if provider not in onnxruntime.get_available_providers():
        raise ValueError(
            f'this onnxruntime has no provider for {device!r}, only '
            f'{onnxruntime.get_available_providers()}; for CUDA: pip install onnxruntime-gpu'
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # onnxruntime raises classes of its own
        raise ValueError(f'ONNX file {path} cannot be read: {error}') from None
