"""The seeded models of the check: full-size ones of every architecture, or tiny ones of the same kinds.

Weights are drawn, since only speed and arithmetic are looked at, and for those trained ones are not needed.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from repositories import write_network
from seeded_weights import generator, shake
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    PreTrainedConfig,
    ResNetConfig,
    RobertaConfig,
    ViTConfig,
    XLMRobertaConfig,
)

CLASSES = 16
# Below it are the tokens that mean something to a model, such as RoBERTa's padding, which takes no position.
FIRST_WORD = 5
# A text has few words of its own: the means over many would be much alike.
WORDS = 4
# Pictures are drawn at so many places to each side and enlarged: noise would look alike to a network.
PICTURE_PLACES = 7
# What ResNets take whose folder says nothing of it.
SIDE = 224
# Tokens of a short row, at most.
SHORT = 32
# Of what the tests' seeded weights are in layers that are followed by a sum: a deep network then errs in half precision by about
# as much as a trained one, where drawn weights of full size would have errors grow from layer to layer.
GAIN = 0.6
# Pictures are further apart than biases.
CONTRAST = 2.0

Rows = dict[str, np.ndarray]


@dataclass(frozen=True)
class Shape:
    """Sizes of an encoder."""

    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int = 30522
    positions: int = 512


TINY = Shape(width=32, layers=3, heads=4, inner=64, vocabulary=200, positions=64)
BASE = Shape(width=768, layers=12, heads=12, inner=3072)


class Network:
    """A model, of whose outputs one is compared.

    `rows_max` is its largest batch;
    `module` computes in f32 on the CPU; `output` is the name under which the server answers what `forward` gives.
    """

    rows_max = 256

    def __init__(self, name: str, module: nn.Module, output: str):
        self.name, self.module, self.output = name, module, output

    def save(self, repository: Path, model: str) -> None:
        """Writes version 1 of a model of this name."""
        self.module.save_pretrained(repository / model / "1")

    def rows(self, count: int, seed: str) -> Rows:
        """Different rows, as the server takes them."""
        raise NotImplementedError

    def short_rows(self, count: int, seed: str) -> Rows:
        """Such as take little work."""
        return self.rows(count, seed)

    def forward(self, module: nn.Module, rows: dict[str, torch.Tensor]) -> torch.Tensor:
        """What `module`, this network's own or a copy of it, answers: [rows, …]."""
        raise NotImplementedError


class TextNetwork(Network):
    """An encoder of token ids. Rows are of all lengths up to `length_max`, which one of them has."""

    def __init__(self, name: str, config: PreTrainedConfig, length_max: int, classifies: bool):
        kind = AutoModelForSequenceClassification if classifies else AutoModel
        super().__init__(name, drawn(kind.from_config(config), name), "logits" if classifies else "embedding")
        self.vocabulary, self.length_max, self.classifies = config.vocab_size, length_max, classifies

    def rows(self, count: int, seed: str) -> Rows:
        return self.rows_of_lengths(count, (1, self.length_max), seed)

    def short_rows(self, count: int, seed: str) -> Rows:
        return self.rows_of_lengths(count, (1, SHORT), seed)

    def rows_of_lengths(self, count: int, lengths: tuple[int, int], seed: str) -> Rows:
        """Rows of lengths from the first to the second, which the first row has, padded with zeros to that."""
        random = np.random.default_rng(generator(seed).initial_seed())
        each = random.integers(*lengths, count, endpoint=True)
        each[0] = lengths[1]
        mask = (np.arange(lengths[1]) < each[:, np.newaxis]).astype(np.int64)
        words = random.integers(FIRST_WORD, self.vocabulary, (count, WORDS))
        ids = np.take_along_axis(words, random.integers(WORDS, size=mask.shape), axis=1)
        return {"input_ids": ids * mask, "attention_mask": mask}

    def forward(self, module, rows):
        answer = module(**rows)
        if self.classifies:
            return answer.logits
        states, mask = answer.last_hidden_state, rows.get("attention_mask")
        if mask is None:
            return states.mean(dim=1)
        # As sentence-transformers pools.
        mask = mask.unsqueeze(-1).to(states.dtype)
        return (states * mask).sum(dim=1) / mask.sum(dim=1)


class ImageNetwork(Network):
    """A classifier of pictures that are prepared already."""

    rows_max = 64

    def __init__(self, name: str, module: nn.Module, side: int):
        super().__init__(name, drawn(module, name), "logits")
        self.side = side

    def rows(self, count: int, seed: str) -> Rows:
        places = torch.randn(count, 3, PICTURE_PLACES, PICTURE_PLACES, generator=generator(seed))
        sizes = {"size": (self.side, self.side), "mode": "bilinear", "align_corners": False}
        return {"pixel_values": nn.functional.interpolate(CONTRAST * places, **sizes).numpy()}

    def forward(self, module, rows):
        answer = module(rows["pixel_values"])
        # timm's models answer with the logits themselves.
        return getattr(answer, "logits", answer)


class TimmNetwork(ImageNetwork):
    def save(self, repository: Path, model: str) -> None:
        from timm.models import save_for_hf

        data = {"input_size": (3, self.side, self.side)}
        labels = {"label_names": [f"class {i}" for i in range(CLASSES)]}
        save_for_hf(self.module, repository / model / "1", labels, safe_serialization=True, data_config=data)


class TabularNetwork(Network):
    """A declared network of linear layers, as docs/your-own-model.md exports one."""

    def __init__(self, name: str, features: int, width: int):
        sizes = [(features, width), (width, width), (width, CLASSES)]
        layers = [layer for pair in sizes for layer in (nn.Linear(*pair), nn.ReLU())][:-1]
        super().__init__(name, drawn(nn.Sequential(*layers), name), "logits")
        self.features = features

    def save(self, repository: Path, model: str) -> None:
        kinds = {nn.Linear: "linear", nn.ReLU: "relu"}
        layers = "".join(f'[[layer]]\ntype = "{kinds[type(layer)]}"\n' for layer in self.module)
        head = f'[input]\nname = "features"\ndims = [{self.features}]\n[output]\nname = "logits"\nscores = "logits"\n'
        tensors = {name: tensor.numpy() for name, tensor in self.module.state_dict().items()}
        write_network(repository, model, head + layers, tensors)

    def rows(self, count: int, seed: str) -> Rows:
        return {"features": torch.randn(count, self.features, generator=generator(seed)).numpy()}

    def forward(self, module, rows):
        return module(rows["features"])


@torch.no_grad()
def drawn(module: nn.Module, name: str) -> nn.Module:
    """With weights from a seed, which is its name."""
    for layer in shake(module, name).modules():
        if isinstance(layer, (nn.Linear, nn.BatchNorm2d)):
            layer.weight.mul_(GAIN)
    return module


# --- makers -----------------------------------------------------------------------------------------------------------


def bert_config(shape: Shape, kind: type = BertConfig, **settings) -> PreTrainedConfig:
    """BERT's, and those that have its keys."""
    return kind(
        vocab_size=shape.vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, intermediate_size=shape.inner, max_position_embeddings=shape.positions,
        num_labels=CLASSES, **settings,
    )  # fmt: skip


def minilm(tiny: bool) -> Network:
    """The shape of all-MiniLM-L6-v2."""
    shape = TINY if tiny else Shape(width=384, layers=6, heads=12, inner=1536)
    return TextNetwork("minilm", bert_config(shape), length_of(tiny), classifies=False)


def bert(tiny: bool) -> Network:
    return TextNetwork("bert", bert_config(TINY if tiny else BASE), length_of(tiny), classifies=True)


def distilbert(tiny: bool) -> Network:
    shape = TINY if tiny else BASE
    config = DistilBertConfig(
        vocab_size=shape.vocabulary, dim=shape.width, n_layers=shape.layers // 2, n_heads=shape.heads,
        hidden_dim=shape.inner, max_position_embeddings=shape.positions,
    )  # fmt: skip
    return TextNetwork("distilbert", config, length_of(tiny), classifies=False)


def roberta(tiny: bool) -> Network:
    shape = TINY if tiny else Shape(**{**vars(BASE), "vocabulary": 50265, "positions": 514})
    config = bert_config(shape, RobertaConfig, type_vocab_size=1, layer_norm_eps=1e-5)
    return TextNetwork("roberta", config, length_of(tiny) - 2, classifies=True)


def xlm_roberta(tiny: bool) -> Network:
    """The shape of a multilingual MiniLM, with a smaller vocabulary, which takes no part in the arithmetic."""
    shape = TINY if tiny else Shape(width=384, layers=12, heads=12, inner=1536, vocabulary=8000, positions=514)
    config = bert_config(shape, XLMRobertaConfig, type_vocab_size=1, layer_norm_eps=1e-5)
    return TextNetwork("xlm_roberta", config, length_of(tiny) - 2, classifies=False)


def modernbert(tiny: bool) -> Network:
    """Rows are longer than what its local attention sees."""
    shape = TINY if tiny else Shape(width=768, layers=22, heads=12, inner=1152, vocabulary=50368, positions=8192)
    config = bert_config(
        shape, ModernBertConfig, global_attn_every_n_layers=3, local_attention=16 if tiny else 128,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    return TextNetwork("modernbert", config, length_of(tiny), classifies=False)


def vit(tiny: bool) -> Network:
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    side, patch = (32, 8) if tiny else (SIDE, 16)
    config = ViTConfig(image_size=side, patch_size=patch, num_labels=CLASSES, **(sizes if tiny else {}))
    return ImageNetwork("vit", AutoModelForImageClassification.from_config(config), side)


def resnet(tiny: bool) -> Network:
    """ResNet-50, which is transformers' default."""
    sizes = {"embedding_size": 16, "hidden_sizes": [32, 48, 64, 96], "depths": [1, 2, 1, 1]}
    config = ResNetConfig(layer_type="bottleneck", num_labels=CLASSES, **(sizes if tiny else {}))
    return ImageNetwork("resnet", AutoModelForImageClassification.from_config(config), SIDE)


def timm_resnet(tiny: bool) -> Network:
    import timm

    sizes = {"channels": (8, 12, 16, 24), "layers": (1, 2, 1, 1)}
    module = timm.create_model("resnet50", num_classes=CLASSES, **(sizes if tiny else {}))
    return TimmNetwork("timm_resnet", module, SIDE)


def tabular(tiny: bool) -> Network:
    return TabularNetwork("tabular", 30, 64 if tiny else 1024)


def length_of(tiny: bool) -> int:
    return 64 if tiny else 256


MAKERS: dict[str, Callable[[bool], Network]] = {
    maker.__name__: maker
    for maker in (minilm, bert, distilbert, roberta, xlm_roberta, modernbert, vit, resnet, timm_resnet, tabular)
}
# Those that need a package that is not everywhere.
PACKAGES = {"timm_resnet": "timm"}


def lacking(model: str) -> str | None:
    """The package that a model would need and that is not installed."""
    package = PACKAGES.get(model)
    return package if package and importlib.util.find_spec(package) is None else None
