"""Small vision transformers of timm: images (B, 3, H, W) to features (B, 384).

Parameter names are timm's, less the classifier. Images may have any size that whole patches fill;
position embeddings are interpolated, and untouched at the size of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import timm
from timm.models import eva
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn

from harness.api import BackboneContext, HarnessError, WeightFile
from harness.kit.initial_weights import load_initial_weights, load_state_dict
from harness_vision.transformer_cards import DistilledParams, TransformerParams

State = dict[str, Tensor]


class DistilledTransformer(VisionTransformerDistilled):
    """DeiT with the features that metric learning takes from it.

    Tested, the feature is the mean of class and distillation token. In training it is the class
    token alone: the code of Hyp and HIER gets both from the timm of its time, and drops the
    second. `training_feature="mean"` trains what is tested.
    """

    def __init__(self, params: DistilledParams) -> None:
        super().__init__(
            patch_size=16,
            embed_dim=384,
            depth=12,
            num_heads=6,
            num_classes=0,
            dynamic_img_size=True,
        )
        self._only_class = params.training_feature == "class_token"

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - no masks
        """Return features (B, 384)."""
        tokens: Tensor = self.forward_features(x)
        if self.training and self._only_class:
            return tokens[:, 0]
        return (tokens[:, 0] + tokens[:, 1]) / 2


def _timm(name: str, **options: Any) -> Callable[[TransformerParams], nn.Module]:  # noqa: ANN401 - of timm
    def make(_: TransformerParams) -> nn.Module:
        return timm.create_model(name, num_classes=0, dynamic_img_size=True, **options)

    return make


def _distilled(params: TransformerParams) -> nn.Module:
    assert isinstance(params, DistilledParams), params
    return DistilledTransformer(params)


def _read_flax(path: Path, module: Any) -> State:  # noqa: ANN401 - a method that modules lack
    """Read a state dict, or the `.npz` that Google published."""
    if path.suffix != ".npz":
        return load_state_dict(path)
    try:
        module.load_pretrained(str(path))
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise HarnessError(f"{path} holds no weights of this transformer: {error}") from error
    return module.state_dict()


def _read_dinov3(path: Path, module: nn.Module) -> State:
    """Read a state dict under the names of timm or of its authors."""
    state = load_state_dict(path)
    return eva.checkpoint_filter_fn(state, module) if "storage_tokens" in state else state


def _read(path: Path, _: nn.Module) -> State:
    return load_state_dict(path)


class Transformer(NamedTuple):
    """How to make a transformer, to read its weights, and what files hold beyond it."""

    make: Callable[[TransformerParams], nn.Module]
    patch: int = 16
    read: Callable[[Path, Any], State] = _read
    drop: tuple[str, ...] = ("head.",)


TRANSFORMERS: Mapping[str, Transformer] = {
    "vit_s16": Transformer(_timm("vit_small_patch16_224"), read=_read_flax),
    "deit_s16_distilled": Transformer(_distilled, drop=("head.", "head_dist.")),
    "dino_vits16": Transformer(_timm("vit_small_patch16_224")),
    "dinov2_vits14": Transformer(
        _timm("vit_small_patch14_dinov2"), patch=14, drop=("head.", "mask_token")
    ),
    "dinov3_vits16": Transformer(
        _timm("vit_small_patch16_dinov3_qkvb", global_pool="token"), read=_read_dinov3
    ),
}


def build(
    name: str,
    published: Mapping[str, WeightFile],
    params: TransformerParams,
    context: BackboneContext,
) -> nn.Module:
    """Build a transformer with the weights that the context asks for, frozen as asked.

    Random values are drawn from torch's global generator, which the caller seeds.
    """
    kind = TRANSFORMERS[name]
    module: Any = kind.make(params)
    load_initial_weights(
        module, published, context, drop=kind.drop, read=lambda path: kind.read(path, module)
    )
    frozen = [module.patch_embed] if params.frozen_patch_embedding else []
    for part in (*frozen, *module.blocks[: params.frozen_blocks]):
        part.requires_grad_(requires_grad=False)
    module.register_forward_pre_hook(_WholePatches(name, kind.patch))
    return module


class _WholePatches(NamedTuple):
    """Refuse images that patches do not fill, before timm asserts it."""

    name: str
    patch: int

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        height, width = inputs[0].shape[-2:]
        if height % self.patch or width % self.patch:
            raise HarnessError(
                f"{self.name} cannot take images of {height} x {width} pixels",
                hint=f"crop them to a multiple of {self.patch} pixels in transforms",
            )
