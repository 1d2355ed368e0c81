"""What transformers and sentence-transformers answer for a folder, in f32, under the names of the server's outputs."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

F32 = {"dtype": torch.float32}
# What a tokenizer says that knows no limit is far more than this.
LENGTH_SANE = 1_000_000


class TextReference:
    """A model of a folder. `pairs` stand beside `texts`, one for each, or are None."""

    def __init__(self, folder: Path):
        self.folder = str(folder)
        self.config = AutoConfig.from_pretrained(self.folder)
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)

    @property
    def length_max(self) -> int:
        """How many tokens the model takes: what its folder says, or what it has positions for."""
        said = Path(self.folder, "sentence_bert_config.json")
        settings = json.loads(said.read_text()) if said.exists() else {}
        length = settings.get("max_seq_length") or self.tokenizer.model_max_length
        return length if length < LENGTH_SANE else self.positions

    @property
    def positions(self) -> int:
        """RoBERTa's begin behind that of the padding."""
        offset = self.config.pad_token_id + 1 if "roberta" in self.config.model_type else 0
        return self.config.max_position_embeddings - offset

    def tokens(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> dict[str, torch.Tensor]:
        """Ids, masks and, where the model takes them, types, padded to the longest row."""
        return self.tokenizer(
            list(texts), None if pairs is None else list(pairs), padding=True, truncation="longest_first",
            max_length=self.length_max, return_tensors="pt",
        )  # fmt: skip

    def truncated(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[int]:
        """How many tokens are cut from each row."""
        whole = self.tokenizer(list(texts), None if pairs is None else list(pairs), verbose=False)["input_ids"]
        return [max(0, len(ids) - self.length_max) for ids in whole]

    def answers(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        return self.answers_to_tokens(self.tokens(texts, pairs))

    def answers_to_tokens(self, tokens: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        raise NotImplementedError


class Embedding(TextReference):
    """Saved by sentence-transformers."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.model = SentenceTransformer(self.folder, device="cpu", model_kwargs=F32)
        # It may lower capitals where the folder's own does not.
        self.tokenizer = self.model.tokenizer

    def answers(self, texts, pairs=None):
        assert pairs is None
        return {"embedding": self.model.encode(list(texts), convert_to_numpy=True)}

    @torch.no_grad()
    def answers_to_tokens(self, tokens):
        return {"embedding": self.model(dict(tokens))["sentence_embedding"].numpy()}


class PlainEmbedding(TextReference):
    """Saved by transformers: the mean over the tokens of the last layer."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.model = AutoModel.from_pretrained(self.folder, **F32).eval()

    @torch.no_grad()
    def answers_to_tokens(self, tokens):
        states = self.model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        return {"embedding": ((states * mask).sum(dim=1) / mask.sum(dim=1)).numpy()}


class Classifier(TextReference):
    def __init__(self, folder: Path):
        super().__init__(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(self.folder, **F32).eval()

    @property
    def labels(self) -> list[str]:
        return [self.config.id2label[i] for i in range(self.config.num_labels)]

    @property
    def is_multi_label(self) -> bool:
        return self.config.problem_type == "multi_label_classification"

    @torch.no_grad()
    def answers_to_tokens(self, tokens):
        logits = self.model(**tokens).logits
        probabilities = logits.sigmoid() if self.is_multi_label else logits.softmax(dim=-1)
        return {"logits": logits.numpy(), "probabilities": probabilities.numpy()}


class Ranker(TextReference):
    """A cross-encoder, whoever saved it."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.model = CrossEncoder(self.folder, device="cpu", model_kwargs=F32)
        self.network = AutoModelForSequenceClassification.from_pretrained(self.folder, **F32).eval()

    def answers(self, texts, pairs=None):
        # Tuples, because two texts in a list could be a row by themselves.
        score = self.model.predict(list(zip(texts, pairs, strict=True)), convert_to_numpy=True)
        return {"logits": self.answers_to_tokens(self.tokens(texts, pairs))["logits"], "score": score}

    @torch.no_grad()
    def answers_to_tokens(self, tokens):
        logits = self.network(**tokens).logits
        return {"logits": logits.numpy(), "score": self.model.activation_fn(logits)[:, 0].numpy()}


def reference(folder: Path) -> TextReference:
    """The reference for what a folder holds."""
    head = AutoConfig.from_pretrained(str(folder)).architectures[0]
    if head.endswith("ForSequenceClassification"):
        alone = AutoConfig.from_pretrained(str(folder)).num_labels == 1
        return Ranker(folder) if alone else Classifier(folder)
    return Embedding(folder) if (folder / "modules.json").exists() else PlainEmbedding(folder)
