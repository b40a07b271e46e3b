"""CLIP's vision transformer on single frames, as a re-identification backbone.

Radford et al., *Learning Transferable Visual Models From Natural Language
Supervision*, ICML 2021. The encoder is ``transformers``' own, under the parameter
names of the published checkpoints (``vision_model.*``). It differs from CLIP in what
comes out: maps of the patch tokens instead of one projected vector, and in the size
that goes in: position embeddings of 224 x 224 are interpolated to any size, as they
stand in the checkpoint, at each forward pass. For an image of 256 x 128::

    vision_model.embeddings        (M, 1 + 16 * 8, 768)   class token, then patches
    vision_model.pre_layrnorm      (the published name)
    vision_model.encoder.layers.0  (M, 129, 768)
        ...                        COSAM sees 16 x 8 maps after any layer
    vision_model.encoder.layers.11
    vision_model.post_layernorm    (M, 129, 768)
    output                         (M, 768, 16, 8)
"""
from types import ModuleType
from typing import Optional

from mmengine.dist import barrier, get_rank
from mmengine.model import BaseModule, update_init_info
from torch import Tensor, nn

from cosam_mm.registry import MODELS, WEIGHT_INITIALIZERS

__all__ = ['CLIPVision', 'PretrainedCLIP']

# Our arguments and what transformers calls them.
_SETTINGS = {
    'hidden_channels': 'hidden_size',
    'num_layers': 'num_hidden_layers',
    'num_heads': 'num_attention_heads',
    'ffn_channels': 'intermediate_size',
    'patch_size': 'patch_size',
    'pretrain_size': 'image_size',
    'hidden_act': 'hidden_act',
}


@MODELS.register_module()
class CLIPVision(BaseModule):
    """CLIP's vision encoder: frames in, maps of their patch tokens out.

    The defaults are those of OpenAI's ViT-B/16. ``PluggedBackbone`` puts plugins into
    it: ``after='vision_model.encoder.layers.8'``, ``layout='frame_tokens'``,
    ``num_prefix_tokens=1``, and the ``grid`` of a clip.

    Args:
        hidden_channels: Channels C of a token.
        num_layers: Transformer layers.
        num_heads: Attention heads; they divide ``hidden_channels``.
        ffn_channels: Width of the feed-forward networks.
        patch_size: Side of a patch, in pixels.
        pretrain_size: Side of the square images of the checkpoint, in pixels: so many
            position embeddings there are. Images may have any size.
        hidden_act: Activation, ``'quick_gelu'`` (OpenAI's weights) or ``'gelu'``
            (most others).
        out_type: ``'featmap'`` for the patch tokens as maps, or ``'cls_token'`` for
            the class token, as a map of 1 x 1.
        frozen_stages: 0 freezes the embeddings and the norm after them, k also the
            first k layers, -1 nothing.
        with_cp: Whether to trade time for memory in training: the activations of each
            layer are computed again in the backward pass.
        init_cfg: As in any mmengine module; ``dict(type='PretrainedCLIP',
            checkpoint=...)`` for published weights. They are initialised as CLIP's were
            when the backbone is built; what this does comes on top.

    Raises:
        ImportError: ``transformers`` is not installed.
        ValueError: A setting is none of those allowed.

    Example:
        >>> import torch
        >>> net = CLIPVision(hidden_channels=32, num_layers=2, num_heads=4,
        ...                  ffn_channels=64)
        >>> net(torch.zeros(4, 3, 256, 128)).shape
        torch.Size([4, 32, 16, 8])
    """

    def __init__(self,
                 hidden_channels: int = 768,
                 num_layers: int = 12,
                 num_heads: int = 12,
                 ffn_channels: int = 3072,
                 patch_size: int = 16,
                 pretrain_size: int = 224,
                 hidden_act: str = 'quick_gelu',
                 out_type: str = 'featmap',
                 frozen_stages: int = -1,
                 with_cp: bool = False,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if hidden_channels % num_heads:
            raise ValueError(f'num_heads={num_heads} does not divide '
                             f'hidden_channels={hidden_channels}.')
        if pretrain_size % patch_size:
            raise ValueError(f'patch_size={patch_size} does not divide '
                             f'pretrain_size={pretrain_size}.')
        if out_type not in ('featmap', 'cls_token'):
            raise ValueError("out_type must be 'featmap' or 'cls_token', got "
                             f'{out_type!r}.')
        if not -1 <= frozen_stages <= num_layers:
            raise ValueError(f'frozen_stages must be between -1 and {num_layers}, '
                             f'got {frozen_stages}.')
        self.out_channels = hidden_channels
        self.patch_size = patch_size
        self.out_type = out_type
        self.frozen_stages = frozen_stages
        self.settings = dict(
            hidden_channels=hidden_channels, num_layers=num_layers,
            num_heads=num_heads, ffn_channels=ffn_channels, patch_size=patch_size,
            pretrain_size=pretrain_size, hidden_act=hidden_act)
        self.vision_model = _vision_model(self.settings, with_cp)
        self._freeze_stages()

    def forward(self, x: Tensor) -> Tensor:
        """(M, 3, H, W) to (M, C, H / patch_size, W / patch_size).

        M = N * T images, the frames of a clip next to one another. With
        ``out_type='cls_token'`` the output is (M, C, 1, 1).

        Raises:
            ValueError: The images are no multiple of ``patch_size`` large.
        """
        height, width = (int(side) for side in x.shape[-2:])
        if x.dim() != 4 or height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f'CLIPVision takes images (M, 3, H, W) with sides that are multiples '
                f'of patch_size={self.patch_size}, got {tuple(x.shape)}: change the '
                'size that the data pipeline resizes to.')
        parts = self.vision_model
        tokens = parts.embeddings(x, interpolate_pos_encoding=True)
        tokens = parts.encoder(inputs_embeds=parts.pre_layrnorm(tokens))[0]
        tokens = parts.post_layernorm(tokens).transpose(1, 2)   # (M, C, 1 + h * w)
        if self.out_type == 'cls_token':
            return tokens[:, :, :1, None]
        return tokens[:, :, 1:].unflatten(
            2, (height // self.patch_size, width // self.patch_size))

    def _freeze_stages(self) -> None:
        parts = self.vision_model
        stages = [nn.ModuleList([parts.embeddings, parts.pre_layrnorm]),
                  *parts.encoder.layers]
        for stage in stages[:self.frozen_stages + 1]:
            stage.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> 'CLIPVision':
        """Set the mode; frozen stages stay in evaluation."""
        super().train(mode)
        self._freeze_stages()
        return self


@WEIGHT_INITIALIZERS.register_module()
class PretrainedCLIP:
    """Loads published CLIP weights into a :class:`CLIPVision`.

    ``transformers`` finds, downloads and caches them, prefers safetensors, and
    unpickles tensors alone where there are none. Every weight must be there, and the
    settings must be the checkpoint's: another activation would not show in any shape.

    Args:
        checkpoint: Name on the Hugging Face hub (``'openai/clip-vit-base-patch16'``),
            or a folder with ``config.json`` and the weights, of a whole CLIP or of its
            vision encoder.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: CLIPVision) -> None:
        """Load them; ``OSError`` without them, ``ValueError`` for other settings."""
        if get_rank() == 0:
            published = self._load()
        barrier()  # the other processes find the files in the cache
        if get_rank() != 0:
            published = self._load()
        wrong = {name: getattr(published.config, theirs)
                 for name, theirs in _SETTINGS.items()
                 if getattr(published.config, theirs) != module.settings[name]}
        if wrong:
            raise ValueError(
                f'{self.checkpoint} holds another encoder than this backbone: set '
                f'{", ".join(f"{name}={value!r}" for name, value in wrong.items())}.')
        module.vision_model.load_state_dict(_encoder_of(published).state_dict())
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'PretrainedCLIP: load from {self.checkpoint}')

    def _load(self) -> nn.Module:
        """The published vision encoder."""
        transformers = _import_transformers()
        try:
            encoder, report = transformers.CLIPVisionModel.from_pretrained(
                self.checkpoint, output_loading_info=True, weights_only=True)
        except OSError as error:
            raise OSError(
                f'The CLIP weights {self.checkpoint!r} could not be had ({error}). '
                'Give the folder of a copy as checkpoint, or train without them: '
                'init_cfg=None of the CLIPVision backbone.') from error
        if report['missing_keys']:
            raise ValueError(
                f'{self.checkpoint} is not a CLIP with a vision encoder: it lacks '
                f'{len(report["missing_keys"])} weights, such as '
                f'{min(report["missing_keys"])}.')
        return encoder


def _vision_model(settings: dict, with_cp: bool) -> nn.Module:
    """The encoder without weights, under the names that checkpoints have."""
    transformers = _import_transformers()
    model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(
        **{theirs: settings[name] for name, theirs in _SETTINGS.items()}))
    if with_cp:
        model.gradient_checkpointing_enable(dict(use_reentrant=False))
    return _encoder_of(model)


def _encoder_of(model: nn.Module) -> nn.Module:
    """The encoder itself, which transformers before version 5 wraps once more."""
    return getattr(model, 'vision_model', model)


def _import_transformers() -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            'CLIPVision takes its encoder from the package transformers: '
            "pip install 'transformers>=4.46'.") from error
    return transformers
