"""Small seeded image classifiers: transformers' ViT and ResNet, timm's and torchvision's ResNet."""

from pathlib import Path

import timm
import torchvision
from seeded_weights import shake
from timm.models import save_for_hf
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

ANIMALS = ("ant", "bee", "crow", "duck, wild", "eel", "fox", "gnu")
NAMED = {"id2label": dict(enumerate(ANIMALS)), "label2id": {label: i for i, label in enumerate(ANIMALS)}}


def save(folder: Path, config: PreTrainedConfig, processor, seed: str) -> None:
    """As transformers does."""
    shake(AutoModelForImageClassification.from_config(config), seed).save_pretrained(folder)
    processor.save_pretrained(folder)


def vit(side: int, **settings) -> PreTrainedConfig:
    return ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, image_size=side, patch_size=8,
        **NAMED, **settings,
    )  # fmt: skip


def vit_32(folder: Path) -> None:
    processor = ViTImageProcessor(size={"height": 32, "width": 32})
    save(folder, vit(32), processor, "vit_32")


def vit_48(folder: Path) -> None:
    """Bicubic, with pixels left between 0 and 1, and no biases of query, key and value."""
    processor = ViTImageProcessor(
        size={"height": 48, "width": 48}, resample=PILImageResampling.BICUBIC, do_normalize=False
    )
    save(folder, vit(48, qkv_bias=False), processor, "vit_48")


def resnet_basic(folder: Path) -> None:
    """ConvNeXT's processor, which transformers' ResNets carry: it enlarges by `crop_pct` and cuts out the middle."""
    config = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 48], depths=[1, 2, 1, 1], layer_type="basic", **NAMED
    )
    processor = ConvNextImageProcessor(
        size={"shortest_edge": 64}, crop_pct=0.875, resample=PILImageResampling.BICUBIC,
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
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


def save_timm(folder: Path, architecture: str, weights: dict | None = None, **settings) -> None:
    """As timm does: all there is to know stands in config.json. `weights`: others than the seeded ones."""
    model = shake(timm.create_model(architecture, num_classes=len(ANIMALS), **settings), folder.parent.name)
    if weights:
        model.load_state_dict(weights)
    save_for_hf(
        model, folder, {"label_names": list(ANIMALS)}, safe_serialization=True,
        data_config={"input_size": (3, 64, 64), "crop_pct": 0.9},
    )  # fmt: skip


def timm_resnet_basic(folder: Path) -> None:
    save_timm(folder, "resnet18", channels=(16, 24, 32, 48), layers=(1, 2, 1, 1))


def timm_resnet_bottleneck(folder: Path) -> None:
    save_timm(folder, "resnet50", channels=(8, 12, 16, 24), layers=(1, 2, 1, 1))


def torchvision_network():
    """torchvision's ResNet-18, whose tensors have the same names in timm's."""
    network = torchvision.models.resnet18(weights=None, num_classes=len(ANIMALS))
    return shake(network, "torchvision_resnet18")


def torchvision_resnet18(folder: Path) -> None:
    save_timm(folder, "resnet18", torchvision_network().state_dict())


MODELS = (
    vit_32, vit_48, resnet_basic, resnet_bottleneck, timm_resnet_basic, timm_resnet_bottleneck, torchvision_resnet18,
)  # fmt: skip
