"""Small seeded image classifiers: transformers' ViT and ResNet, timm's and torchvision's ResNet."""

from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from pictures import detailed, smooth
from PIL import Image
from seeded_weights import shake, spread
from timm.models import save_for_hf
from torch import nn
from transformers import (
    AutoModelForImageClassification,
    BitImageProcessor,
    ConvNextImageProcessor,
    PreTrainedConfig,
    ResNetConfig,
    ViTConfig,
    ViTImageProcessor,
)
from transformers.image_utils import PILImageResampling

# Of what those take that take any size.
SIDE = 64
ANIMALS = ("ant", "bee", "crow", "duck, wild", "eel", "fox", "gnu")
NAMED = {"id2label": dict(enumerate(ANIMALS)), "label2id": {label: i for i, label in enumerate(ANIMALS)}}

# Of the logits over different pictures: clear differences, and none that is all there is.
DEVIATION = 0.7
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def probes(height: int, width: int, mean=(0.0,), std=(1.0,)) -> torch.Tensor:
    """Different pictures, as a model gets them."""
    pixels = np.stack([content(width, height, 100 + i) for i in range(16) for content in (smooth, detailed)]) / 255
    return torch.tensor((pixels - mean) / std, dtype=torch.float32).permute(0, 3, 1, 2)


def shaken(model: nn.Module, head: nn.Linear, seed: str, pixels: torch.Tensor) -> nn.Module:
    """`head`: the model's last layer; `pixels`: what its answers are to differ for."""
    shake(model, seed)
    spread(head, lambda: logits(model, pixels), DEVIATION)
    return model


def logits(model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """transformers' models answer with more than that."""
    answer = model(pixels)
    return getattr(answer, "logits", answer)


def save(folder: Path, config: PreTrainedConfig, processor, seed: str) -> None:
    """As transformers does."""
    taken = processor(Image.fromarray(smooth(SIDE, SIDE)), return_tensors="pt")["pixel_values"]
    colours = (processor.image_mean, processor.image_std) if processor.do_normalize else ()
    model = AutoModelForImageClassification.from_config(config)
    head = model.classifier if isinstance(model.classifier, nn.Linear) else model.classifier[-1]
    shaken(model, head, seed, probes(*taken.shape[-2:], *colours)).save_pretrained(folder)
    processor.save_pretrained(folder)


def vit(side: int, **settings) -> PreTrainedConfig:
    return ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, image_size=side, patch_size=8,
        **NAMED, **settings,
    )  # fmt: skip


def vit_32(folder: Path) -> None:
    processor = ViTImageProcessor(size={"height": 32, "width": 32})
    save(folder, vit(32), processor, "vit_32")


def pixels_vit(folder: Path) -> None:
    """`vit_32` without its processor."""
    vit_32(folder)
    (folder / "preprocessor_config.json").unlink()


def vit_48(folder: Path) -> None:
    """Bicubic, with pixels left between 0 and 1, no biases of query, key and value, and an epsilon that shows."""
    processor = ViTImageProcessor(
        size={"height": 48, "width": 48}, resample=PILImageResampling.BICUBIC, do_normalize=False
    )
    save(folder, vit(48, qkv_bias=False, layer_norm_eps=1e-2), processor, "vit_48")


def vit_nearest(folder: Path) -> None:
    processor = ViTImageProcessor(size={"height": 32, "width": 32}, resample=PILImageResampling.NEAREST)
    save(folder, vit(32), processor, "vit_nearest")


def resnet_basic(folder: Path) -> None:
    """ConvNeXT's processor, which transformers' ResNets carry: it enlarges by `crop_pct` and cuts out the middle."""
    config = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 48], depths=[1, 2, 1, 1], layer_type="basic", **NAMED
    )
    processor = ConvNextImageProcessor(
        size={"shortest_edge": 64}, crop_pct=0.875, resample=PILImageResampling.BICUBIC,
        image_mean=list(IMAGENET[0]), image_std=list(IMAGENET[1]),
    )  # fmt: skip
    save(folder, config, processor, "resnet_basic")


def resnet_bottleneck(folder: Path) -> None:
    """An image smaller than the cut is padded."""
    config = ResNetConfig(
        embedding_size=16, hidden_sizes=[32, 48, 64, 96], depths=[1, 2, 1, 1], layer_type="bottleneck", **NAMED
    )
    processor = BitImageProcessor(
        size={"shortest_edge": 56}, crop_size={"height": 64, "width": 48}, resample=PILImageResampling.BILINEAR
    )
    save(folder, config, processor, "resnet_bottleneck")


def save_timm(
    folder: Path, architecture: str, weights: dict | None = None, crop_mode: str = "center", **settings
) -> None:
    """As timm does: all there is to know stands in config.json. `weights`: others than the seeded ones."""
    model = timm.create_model(architecture, num_classes=len(ANIMALS), **settings)
    if weights:
        model.load_state_dict(weights)
    else:
        shaken(model, model.fc, folder.parent.name, probes(SIDE, SIDE, *IMAGENET))
    save_for_hf(
        model, folder, {"label_names": list(ANIMALS)}, safe_serialization=True,
        data_config={"input_size": (3, SIDE, SIDE), "crop_pct": 0.9, "crop_mode": crop_mode},
    )  # fmt: skip


def timm_resnet_basic(folder: Path) -> None:
    save_timm(folder, "resnet18", channels=(16, 24, 32, 48), layers=(1, 2, 1, 1))


def timm_resnet_squash(folder: Path) -> None:
    """Both sides are scaled by themselves: the order in which that is done shows in tall pictures."""
    save_timm(folder, "resnet18", crop_mode="squash", channels=(16, 24, 32, 48), layers=(1, 1, 1, 1))


def timm_resnet_bottleneck(folder: Path) -> None:
    save_timm(folder, "resnet50", channels=(8, 12, 16, 24), layers=(1, 2, 1, 1))


def torchvision_network() -> nn.Module:
    """torchvision's ResNet-18, whose tensors have the same names in timm's."""
    network = torchvision.models.resnet18(weights=None, num_classes=len(ANIMALS))
    return shaken(network, network.fc, "torchvision_resnet18", probes(SIDE, SIDE, *IMAGENET))


def torchvision_resnet18(folder: Path) -> None:
    save_timm(folder, "resnet18", torchvision_network().state_dict())


MODELS = (
    vit_32, vit_48, vit_nearest, resnet_basic, resnet_bottleneck, timm_resnet_basic, timm_resnet_squash,
    timm_resnet_bottleneck, torchvision_resnet18,
)  # fmt: skip
