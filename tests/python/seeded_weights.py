"""Weights from seeds, scaled so that answers differ clearly between inputs: freshly made models answer all alike."""

import math
import zlib
from collections.abc import Callable

import torch
from torch import nn

# Wider kernels are drawn at so many places to each side.
PLACES = 2
NORMS = (nn.LayerNorm, nn.BatchNorm2d)


def generator(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


@torch.no_grad()
def shake(model: nn.Module, name: str) -> nn.Module:
    """Draws every weight and running statistic of a model anew; `name` is the seed."""
    random = generator(name)
    for module in model.modules():
        for key, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if tensor.is_floating_point():
                draw(module, key, tensor, random)
    return model.eval()


def draw(module: nn.Module, key: str, tensor: torch.Tensor, random: torch.Generator) -> None:
    if key == "running_var":
        tensor.uniform_(0.5, 1.5, generator=random)
    elif isinstance(module, NORMS) and key == "weight":
        tensor.normal_(1.0, 0.2, generator=random)
    elif isinstance(module, nn.Conv2d) and key == "weight":
        draw_kernels(tensor, random)
    elif isinstance(module, nn.Linear) and key == "weight":
        tensor.normal_(0.0, 1.3 / math.sqrt(tensor.shape[1]), generator=random)
    elif key.endswith("inv_freq"):
        pass
    else:
        # Embeddings, biases, class tokens, running means.
        tensor.normal_(0.0, 0.3, generator=random)


def draw_kernels(kernels: torch.Tensor, random: torch.Generator) -> None:
    """Kernels that keep the spread of a layer's inputs where half of them are cut off at zero.

    They are smooth, as those of trained models are: otherwise noise of one level would count as much as the picture.
    """
    side = kernels.shape[-1]
    places = min(side, PLACES)
    coarse = torch.empty(*kernels.shape[:2], places, places).normal_(generator=random)
    fine = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)
    kernels.copy_(fine * math.sqrt(2 / kernels[0].numel()))


@torch.no_grad()
def spread(head: nn.Linear, logits: Callable[[], torch.Tensor], deviation: float, mean: float = 0.0) -> None:
    """Scales and shifts a head so that over these rows each of its logits has this deviation and mean."""
    found = logits()
    scale = deviation / found.std(dim=0)
    head.weight.mul_(scale[:, None])
    head.bias.copy_((head.bias - found.mean(dim=0)) * scale + mean)
