"""What transformers, timm and torchvision answer for a folder, from the encoded bytes of a picture."""

import io
import json
from functools import cached_property
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from seeded_images import logits, torchvision_network
from transformers import AutoImageProcessor, AutoModelForImageClassification
from transformers.image_utils import load_image


class ImageReference:
    """A model of a folder."""

    def __init__(self, folder: Path):
        self.folder = str(folder)
        self.config = json.loads(Path(folder, "config.json").read_text())
        self.processor = AutoImageProcessor.from_pretrained(self.folder)
        self.network = network(folder).eval()

    @property
    def labels(self) -> list[str]:
        if "label_names" in self.config:
            return self.config["label_names"]
        return [self.config["id2label"][str(i)] for i in range(len(self.config["id2label"]))]

    @cached_property
    def deviation(self) -> np.ndarray:
        """By how much each channel was divided after it had come between 0 and 1: [3, 1, 1]."""
        settings = getattr(self.processor, "data_config", None)
        if settings is not None:
            std = settings["std"]
        else:
            std = self.processor.image_std if self.processor.do_normalize else [1.0] * 3
        return np.array(std, dtype=np.float32).reshape(3, 1, 1)

    def pixels(self, picture: bytes) -> np.ndarray:
        """FP32 [1, 3, height, width]: upright, in three colours, as the processor that the folder names makes them."""
        image = load_image(Image.open(io.BytesIO(picture)))
        return self.processor(image, return_tensors="pt")["pixel_values"].numpy()

    @torch.no_grad()
    def logits(self, pixels: np.ndarray) -> np.ndarray:
        return logits(self.network, torch.from_numpy(pixels)).numpy()


def network(folder: Path) -> torch.nn.Module:
    """As the library makes it that the folder is from; torchvision has no folders: its weights lie in one of timm's."""
    if folder.parent.name.startswith("torchvision"):
        return torchvision_network()
    if folder.parent.name.startswith("timm"):
        return timm.create_model(f"local-dir:{folder}", pretrained=True)
    return AutoModelForImageClassification.from_pretrained(str(folder))


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)
