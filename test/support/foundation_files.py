"""Tiny foundation networks with random weights, in the files and names of the published ones."""

from __future__ import annotations

import re
from dataclasses import replace

import torch
import torch.nn.functional as F
from safetensors.torch import save_file


def random_tensors(shapes, seed=0, scale=0.2):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: scale * torch.randn(shape, generator=generator) for name, shape in shapes.items()
    }


def official_dinov2(dim=24, layers=2, grid=5, patch=14):
    """Parameters with the names of DINOv2's own .pth files."""
    shapes = {
        'cls_token': (1, 1, dim), 'mask_token': (1, dim), 'register_tokens': (1, 4, dim),
        'pos_embed': (1, 1 + grid * grid, dim),
        'patch_embed.proj.weight': (dim, 3, patch, patch), 'patch_embed.proj.bias': (dim,),
        'norm.weight': (dim,), 'norm.bias': (dim,),
    }  # fmt: skip
    for i in range(layers):
        shapes |= {
            f'blocks.{i}.{name}': shape
            for name, shape in {
                'norm1.weight': (dim,), 'norm1.bias': (dim,),
                'norm2.weight': (dim,), 'norm2.bias': (dim,),
                'attn.qkv.weight': (3 * dim, dim), 'attn.qkv.bias': (3 * dim,),
                'attn.proj.weight': (dim, dim), 'attn.proj.bias': (dim,),
                'ls1.gamma': (dim,), 'ls2.gamma': (dim,),
                'mlp.fc1.weight': (4 * dim, dim), 'mlp.fc1.bias': (4 * dim,),
                'mlp.fc2.weight': (dim, 4 * dim), 'mlp.fc2.bias': (dim,),
            }.items()
        }  # fmt: skip
    return random_tensors(shapes)


def _blocks(prefix, width, layers):
    shapes = {}
    for i in range(layers):
        shapes |= {
            f'{prefix}transformer.resblocks.{i}.{name}': shape
            for name, shape in {
                'ln_1.weight': (width,), 'ln_1.bias': (width,),
                'ln_2.weight': (width,), 'ln_2.bias': (width,),
                'attn.in_proj_weight': (3 * width, width), 'attn.in_proj_bias': (3 * width,),
                'attn.out_proj.weight': (width, width), 'attn.out_proj.bias': (width,),
                'mlp.c_fc.weight': (4 * width, width), 'mlp.c_fc.bias': (4 * width,),
                'mlp.c_proj.weight': (width, 4 * width), 'mlp.c_proj.bias': (width,),
            }.items()
        }  # fmt: skip
    return shapes


def official_clip(vision=128, text=64, out=32, layers=2, patch=16, grid=3, context=20):
    """Both towers with the names of open_clip_model.safetensors."""
    shapes = {
        'visual.conv1.weight': (vision, 3, patch, patch), 'visual.class_embedding': (vision,),
        'visual.positional_embedding': (1 + grid * grid, vision), 'visual.proj': (vision, out),
        'visual.ln_pre.weight': (vision,), 'visual.ln_pre.bias': (vision,),
        'visual.ln_post.weight': (vision,), 'visual.ln_post.bias': (vision,),
        'token_embedding.weight': (49408, text), 'positional_embedding': (context, text),
        'ln_final.weight': (text,), 'ln_final.bias': (text,), 'text_projection': (text, out),
        'logit_scale': (),
    }  # fmt: skip
    shapes |= _blocks('visual.', vision, layers) | _blocks('', text, layers)
    return random_tensors(shapes, 1)


def official_featup(channels=32):
    """The upsampler with the names of FeatUp's Lightning checkpoint."""
    shapes = {
        'upsampler.fixup_proj.1.weight': (channels, channels, 1, 1),
        'upsampler.fixup_proj.1.bias': (channels,),
    }
    for step in range(1, 5):
        shapes |= {
            f'upsampler.up{step}.{name}': shape
            for name, shape in {
                'range_temp': (), 'sigma_spatial': (),
                'range_proj.0.weight': (32, 3, 1, 1), 'range_proj.0.bias': (32,),
                'range_proj.3.weight': (32, 32, 1, 1), 'range_proj.3.bias': (32,),
                'fixup_proj.0.weight': (49, 52, 1, 1), 'fixup_proj.0.bias': (49,),
                'fixup_proj.3.weight': (49, 49, 1, 1), 'fixup_proj.3.bias': (49,),
            }.items()
        }  # fmt: skip
    tensors = random_tensors(shapes, 2)
    for name in tensors:
        if name.endswith('sigma_spatial'):
            tensors[name] = tensors[name].abs() + 0.5
    return tensors


def write_featup(folder, channels=32):
    """As Lightning leaves it: parameters of other parts, counters, and more than tensors."""
    extra = {'model.model.visual.conv1.weight': torch.ones(1), 'scale_net.weight': torch.ones(1)}
    content = {'epoch': 3, 'state_dict': official_featup(channels) | extra, 'callbacks': {}}
    path = folder / 'featup' / 'maskclip_jbu_stack_cocostuff.ckpt'
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


FULL_CLIP = {
    'vision': 768, 'text': 512, 'out': 512, 'layers': 12, 'grid': 14, 'context': 77,
}  # fmt: skip


def write_clip(folder, **sizes):
    path = folder / 'clip-vit-b-16' / 'open_clip_model.safetensors'
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(official_clip(**sizes), path)
    return path


def write_talk2dino(folder, width=32, out=24):
    shapes = {
        'linear_layer.weight': (out, width), 'linear_layer.bias': (out,),
        'hidden_layers.0.weight': (out, out), 'hidden_layers.0.bias': (out,),
    }  # fmt: skip
    path = folder / 'talk2dino' / 'vitb_mlp_infonce.pth'
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(random_tensors(shapes, 3), path)
    return path


def write_dinov2(folder, dim=24, layers=2, heads=2, grid=5):
    """A folder as transformers publishes it: config.json and model.safetensors."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(
        hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads, patch_size=14,
        image_size=grid * 14,
    )  # fmt: skip
    path = folder / 'dinov2-with-registers-base'
    Dinov2WithRegistersModel(config).save_pretrained(path)
    return path


# (pattern in DINOv2's own names, name in the published folder); qkv is split separately
DINOV2_NAMES = (
    (r'^cls_token$', 'embeddings.cls_token'),
    (r'^mask_token$', 'embeddings.mask_token'),
    (r'^register_tokens$', 'embeddings.register_tokens'),
    (r'^pos_embed$', 'embeddings.position_embeddings'),
    (r'^patch_embed\.proj\.', 'embeddings.patch_embeddings.projection.'),
    (r'^blocks\.(\d+)\.norm([12])\.', r'encoder.layer.\1.norm\2.'),
    (r'^blocks\.(\d+)\.attn\.proj\.', r'encoder.layer.\1.attention.output.dense.'),
    (r'^blocks\.(\d+)\.ls([12])\.gamma$', r'encoder.layer.\1.layer_scale\2.lambda1'),
    (r'^blocks\.(\d+)\.mlp\.fc([12])\.', r'encoder.layer.\1.mlp.fc\2.'),
    (r'^norm\.', 'layernorm.'),
)


def write_official_dinov2(folder, tensors):
    """The folder of `write_dinov2` with parameters that have DINOv2's own names."""
    path = write_dinov2(folder)
    renamed = {}
    for name, value in tensors.items():
        packed = re.match(r'^blocks\.(\d+)\.attn\.qkv\.(weight|bias)$', name)
        if packed:
            prefix = f'encoder.layer.{packed[1]}.attention.attention'
            for part, rows in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                renamed[f'{prefix}.{part}.{packed[2]}'] = rows.clone()
            continue
        for pattern, replacement in DINOV2_NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    save_file(renamed, path / 'model.safetensors', metadata={'format': 'pt'})
    return path


TINY_VIT = {
    'model_type': 'dinov2', 'image_size': 28, 'patch_size': 14, 'hidden_size': 24,
    'num_hidden_layers': 4, 'num_attention_heads': 2,
}  # fmt: skip


VIT_SMALL = {
    'model_type': 'dinov2', 'image_size': 518, 'patch_size': 14, 'hidden_size': 384,
    'num_hidden_layers': 12, 'num_attention_heads': 6,
}  # fmt: skip
# of Depth Anything V2 Small, as its config.json has them
SMALL_HEAD = {
    'reassemble_hidden_size': 384, 'neck_hidden_sizes': [48, 96, 192, 384],
    'fusion_hidden_size': 64, 'head_hidden_size': 32,
}  # fmt: skip
TINY_HEAD = {
    'reassemble_hidden_size': 24, 'neck_hidden_sizes': [8, 8, 8, 8], 'fusion_hidden_size': 8,
    'head_hidden_size': 4,
}  # fmt: skip


def write_depth_anything(folder, kind='metric', full=False):
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    layers = (3, 6, 9, 12) if full else (1, 2, 3, 4)
    stages = {'out_features': [f'stage{layer}' for layer in layers],
              'reshape_hidden_states': False, 'apply_layernorm': True}  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=(VIT_SMALL if full else TINY_VIT) | stages, patch_size=14,
        depth_estimation_type=kind, max_depth=80, **(SMALL_HEAD if full else TINY_HEAD),
    )  # fmt: skip
    path = folder / 'depth-anything-v2-metric-outdoor-small'
    DepthAnythingForDepthEstimation(config).save_pretrained(path)
    return path


def write_depth_pro(folder):
    from transformers import DepthProConfig, DepthProForDepthEstimation

    config = DepthProConfig(
        image_model_config=TINY_VIT, patch_model_config=TINY_VIT, fov_model_config=TINY_VIT,
        patch_size=28, fusion_hidden_size=8, intermediate_hook_ids=[2, 1],
        intermediate_feature_dims=[8, 8], scaled_images_feature_dims=[8, 8, 8],
        use_fov_model=True,
    )  # fmt: skip
    path = folder / 'depth-pro'
    DepthProForDepthEstimation(config).save_pretrained(path)
    return path


def write_metric3d(
    folder, size=(616, 1064), output='predicted_depth', half=False, offset=5.0, variant='large'
):
    """An ONNX graph in the form of the public ones: pixels 0..255 in, normalised inside.

    Its depth is the mean over the normalised channels plus `offset`; 5 is the stand-in of
    units.npz.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    mean = np.array([123.675, 116.28, 103.53], dtype).reshape(1, 3, 1, 1)
    std = np.array([58.395, 57.12, 57.375], dtype).reshape(1, 3, 1, 1)
    constants = {'mean': mean, 'std': std, 'offset': np.array(offset, dtype)}
    nodes = [
        helper.make_node('Sub', ['pixel_values', 'mean'], ['centred']),
        helper.make_node('Div', ['centred', 'std'], ['scaled']),
        helper.make_node('ReduceMean', ['scaled'], ['grey'], axes=[1], keepdims=1),
        helper.make_node('Add', ['grey', 'offset'], [output]),
        helper.make_node('Neg', ['grey'], ['predicted_normal']),
    ]
    graph = helper.make_graph(
        nodes,
        'metric3d',
        # None: whatever comes, as the public pages say of theirs
        [helper.make_tensor_value_info('pixel_values', kind, [1, 3, *(size or 'hw')])],
        [
            helper.make_tensor_value_info('predicted_normal', kind, [1, 1, *(size or 'hw')]),
            helper.make_tensor_value_info(output, kind, [1, 1, *(size or 'hw')]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
    path = folder / 'metric3d' / f'metric3d_vit_{variant}.onnx'
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def write_gausstr(folder, preset, **sizes):
    """A checkpoint as mmengine leaves it, with seeded weights and unit text prototypes."""
    from gausstr_core.transformer.checkpoints.checkpoint import Checkpoint, to_official
    from gausstr_core.transformer.full.transformer import FEATUP, TALK2DINO, FullTransformer

    names = {
        'talk2dino': ('gausstr_talk2dino_e20_miou12.27.pth', TALK2DINO),
        'featup': ('gausstr_featup_e24_miou11.70.pth', FEATUP),
    }
    name, config = names[preset]
    config = replace(config, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        state = FullTransformer(config).state_dict()
        for i in range(config.layers):
            state[f'heads.{i}.opacity.2.bias'] += 2  # mostly opaque, as what was trained
        prototypes = F.normalize(torch.randn(21, config.feature_dim), dim=-1)
    tensors = to_official(Checkpoint(config, state, prototypes))
    path = folder / 'gausstr' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({'meta': {'epoch': 20}, 'state_dict': tensors}, path)
    return path


def write_tiny(folder):
    """Everything that both published presets read, small."""
    write_dinov2(folder)
    write_clip(folder)
    write_talk2dino(folder)
    write_featup(folder)
    write_metric3d(folder, (56, 112), offset=100.0)  # some metres at a test's focal lengths
    small = {'dim': 16, 'queries': 40, 'hidden': 24, 'reduced': 5}
    write_gausstr(folder, 'talk2dino', feature_dim=24, **small)
    write_gausstr(folder, 'featup', feature_dim=32, **small)
    return folder


def write_tiny_surface(folder):
    """Everything that preset surface reads, small."""
    write_dinov2(folder)
    write_clip(folder)
    write_talk2dino(folder)
    write_depth_anything(folder)
    write_metric3d(folder, None, offset=100.0, variant='small')  # some metres at small focals
    return folder


def write_full_size(folder, presets=('talk2dino', 'featup')):
    """Random weights of the released sizes; about 1 GB of files.

    Only Metric3D stays the stand-in of `write_metric3d`: the form is right, the size is not.
    """
    write_clip(folder, **FULL_CLIP)
    write_metric3d(folder)
    if 'talk2dino' in presets:
        write_dinov2(folder, dim=768, layers=12, heads=12, grid=37)
        write_talk2dino(folder, width=512, out=768)
    if 'featup' in presets:
        write_featup(folder, channels=512)
    for preset in presets:
        write_gausstr(folder, preset)
    return folder


def write_full_size_surface(folder):
    """Random weights at the full width of all that preset surface reads; 1.2 GB of files.

    Of Metric3D it is the encoder, ViT-S with registers; its decoder is a linear layer here.
    """
    write_clip(folder, **FULL_CLIP)
    write_dinov2(folder, dim=768, layers=12, heads=12, grid=37)
    write_talk2dino(folder, width=512, out=768)
    write_depth_anything(folder, full=True)
    write_metric3d_encoder(folder)
    return folder


def write_metric3d_encoder(folder, size=(616, 1064)):
    """An ONNX graph with the encoder of the small Metric3D: pixels 0..255 in, metres out."""
    from gausstr_core.foundation.exported import export_graph

    path = folder / 'metric3d' / 'metric3d_vit_small.onnx'
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = _SmallMetric3D().eval()
    export_graph(network, torch.zeros(1, 3, *size), path, ('pixel_values', 'predicted_depth'))
    return path


class _SmallMetric3D(torch.nn.Module):
    def __init__(self):
        super().__init__()
        from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

        options = {k: v for k, v in VIT_SMALL.items() if k != 'model_type'}
        self.encoder = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**options))
        self.decoder = torch.nn.Linear(384, 14 * 14)

    def forward(self, pixels):
        rows, columns = (int(side) // 14 for side in pixels.shape[2:])
        tokens = self.encoder(pixel_values=(pixels - 118) / 58).last_hidden_state[:, 5:]
        patches = self.decoder(tokens).transpose(1, 2).reshape(1, -1, rows, columns)
        return 20 * F.pixel_shuffle(patches, 14)[:, 0].sigmoid() + 2
