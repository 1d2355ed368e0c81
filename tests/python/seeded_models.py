#!/usr/bin/env python3
"""Makes small seeded models of every kind, in folders as the libraries themselves write them.

    python seeded_models.py OUT     writes the repository OUT/<name>/1/…

The same seeds give the same bytes. Nothing is fetched: tokenizers and weights are made here.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import seeded_images
import seeded_tokenizers as tokenizers
import torch
from seeded_weights import shake, spread
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from sentences import mixed
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    XLMRobertaConfig,
)

HIDDEN, HEADS, INNER = 32, 4, 64
# What the models have positions for, without those that RoBERTa keeps for padding.
POSITIONS = 64
MODERNBERT_POSITIONS = 128
# Half of it to each side: far less than the lengths that are asked.
WINDOW = 16
# Thirty models are made ready one after the other, and none is measured.
SETTINGS = '[warmup]\ntime_max = "100ms"\n'
# Far from what is usual, so that it shows who does not read it.
EPSILON = 1e-2
TOPICS = ("river", "bridge", "mayor", "nobody's \"fault\"")


# --- networks ---------------------------------------------------------------------------------------------------------


def bert(tokenizer: PreTrainedTokenizerBase, **settings) -> PreTrainedConfig:
    return BertConfig(
        vocab_size=len(tokenizer), hidden_size=HIDDEN, num_hidden_layers=3, num_attention_heads=HEADS,
        intermediate_size=INNER, max_position_embeddings=POSITIONS, pad_token_id=tokenizer.pad_token_id, **settings,
    )  # fmt: skip


def distilbert(tokenizer: PreTrainedTokenizerBase, **settings) -> PreTrainedConfig:
    return DistilBertConfig(
        vocab_size=len(tokenizer), dim=HIDDEN, n_layers=2, n_heads=HEADS, hidden_dim=INNER,
        max_position_embeddings=POSITIONS, pad_token_id=tokenizer.pad_token_id, **settings,
    )  # fmt: skip


def with_offset(kind: type, tokenizer: PreTrainedTokenizerBase, **settings) -> PreTrainedConfig:
    """RoBERTa and XLM-RoBERTa: positions begin after that of the padding."""
    return kind(
        vocab_size=len(tokenizer), hidden_size=HIDDEN, num_hidden_layers=3, num_attention_heads=HEADS,
        intermediate_size=INNER, max_position_embeddings=POSITIONS + tokenizer.pad_token_id + 1, type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id,
        **{"layer_norm_eps": 1e-5, **settings},
    )  # fmt: skip


def roberta(tokenizer: PreTrainedTokenizerBase, **settings) -> PreTrainedConfig:
    return with_offset(RobertaConfig, tokenizer, **settings)


def xlm_roberta(tokenizer: PreTrainedTokenizerBase, **settings) -> PreTrainedConfig:
    return with_offset(XLMRobertaConfig, tokenizer, **settings)


def modernbert(tokenizer: PreTrainedTokenizerBase, **settings) -> PreTrainedConfig:
    return ModernBertConfig(
        vocab_size=len(tokenizer), hidden_size=HIDDEN, num_hidden_layers=4, num_attention_heads=HEADS,
        intermediate_size=INNER, max_position_embeddings=MODERNBERT_POSITIONS, global_attn_every_n_layers=3,
        local_attention=WINDOW, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id, cls_token_id=tokenizer.cls_token_id, sep_token_id=tokenizer.sep_token_id,
        **settings,
    )  # fmt: skip


def encoder(config: PreTrainedConfig, seed: str) -> PreTrainedModel:
    return shake(AutoModel.from_config(config), seed)


def classifier(config: PreTrainedConfig, seed: str) -> PreTrainedModel:
    return shake(AutoModelForSequenceClassification.from_config(config), seed)


def ranker(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, seed: str) -> PreTrainedModel:
    """A classifier of one label. Its logits are not near 0, where a small error is a large part of them."""
    model = classifier(config, seed)
    texts = mixed(60)
    pairs = tokenizer(texts, texts[::-1], padding=True, truncation=True, return_tensors="pt")
    head = getattr(model.classifier, "out_proj", model.classifier)
    spread(head, lambda: model(**pairs).logits, deviation=0.4, mean=3.0)
    return model


def named(*labels: str) -> dict:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


# --- folders ----------------------------------------------------------------------------------------------------------


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **settings) -> None:
    """As transformers does."""
    model.save_pretrained(folder, **settings)
    tokenizer.save_pretrained(folder)


def save_sentences(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *after: nn.Module,
    pooling: str = "mean", length_max: int | None = None,
) -> None:  # fmt: skip
    """As sentence-transformers does; `after` are the modules behind the pooling."""
    with tempfile.TemporaryDirectory() as plain:
        save(Path(plain), model, tokenizer)
        # Without a type it would load half-precision weights as such, and the norms beside them in another.
        transformer = Transformer(plain, max_seq_length=length_max, model_kwargs={"dtype": model.dtype})
        modules = [transformer, Pooling(HIDDEN, pooling), *after]
        SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)


def as_before_version_6(folder: Path, length_max: int, *switches: str) -> None:
    """Rewrites the files of a folder that sentence-transformers wrote otherwise until then, for texts in lower case.

    `switches`: the ways of pooling that are on.
    """
    modules = json.loads((folder / "modules.json").read_text())
    for module in modules:
        module["type"] = "sentence_transformers.models." + module["type"].rsplit(".")[-1]
    ways = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    files = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": length_max, "do_lower_case": True},
        "1_Pooling/config.json": {
            "word_embedding_dimension": HIDDEN, **{f"pooling_mode_{way}": way in switches for way in ways},
        },
    }  # fmt: skip
    for name, data in files.items():
        (folder / name).write_text(json.dumps(data, indent=2))


def save_cross_encoder(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, activation: nn.Module | None = None
) -> None:
    """As sentence-transformers' CrossEncoder does."""
    with tempfile.TemporaryDirectory() as plain:
        save(Path(plain), model, tokenizer)
        encoder = CrossEncoder(plain, activation_fn=activation, device="cpu")
        encoder.save_pretrained(str(folder), create_model_card=False)


# --- embeddings -------------------------------------------------------------------------------------------------------


def embed_bert_mean(folder: Path) -> None:
    """Asks for less than the model has positions for."""
    tokenizer = tokenizers.wordpiece(lowercase=True, model_max_length=POSITIONS)
    model = encoder(bert(tokenizer), "embed_bert_mean")
    save_sentences(folder, model, tokenizer, Normalize(), length_max=48)


def embed_bert_cls(folder: Path) -> None:
    tokenizer = tokenizers.wordpiece(lowercase=False, model_max_length=POSITIONS)
    model = encoder(bert(tokenizer, hidden_act="gelu_new"), "embed_bert_cls")
    save_sentences(folder, model, tokenizer, Normalize(), pooling="cls")


def embed_bert_older(folder: Path) -> None:
    """The tokenizer keeps capitals, the folder does not; two poolings are joined."""
    tokenizer = tokenizers.wordpiece(lowercase=False, model_max_length=POSITIONS)
    save_sentences(folder, encoder(bert(tokenizer), "embed_bert_older"), tokenizer)
    as_before_version_6(folder, 40, "cls_token", "mean_tokens")


def embed_distilbert(folder: Path) -> None:
    tokenizer = tokenizers.distilbert(model_max_length=POSITIONS)
    save_sentences(folder, encoder(distilbert(tokenizer), "embed_distilbert"), tokenizer)


def embed_roberta(folder: Path) -> None:
    tokenizer = tokenizers.roberta(model_max_length=POSITIONS)
    config = roberta(tokenizer, layer_norm_eps=EPSILON)
    save_sentences(folder, encoder(config, "embed_roberta"), tokenizer)


def embed_xlm_roberta_dense(folder: Path) -> None:
    tokenizer = tokenizers.xlm_roberta(model_max_length=POSITIONS)
    dense = shake(Dense(HIDDEN, 24), "embed_xlm_roberta_dense 2")
    save_sentences(folder, encoder(xlm_roberta(tokenizer), "embed_xlm_roberta_dense"), tokenizer, dense, Normalize())


def embed_modernbert(folder: Path) -> None:
    tokenizer = tokenizers.modernbert(model_max_length=MODERNBERT_POSITIONS)
    save_sentences(folder, encoder(modernbert(tokenizer), "embed_modernbert"), tokenizer)


def embed_bert_plain(folder: Path) -> None:
    """No modules.json, and a tokenizer that knows no limit, as transformers 5 writes where none is set."""
    tokenizer = tokenizers.wordpiece(lowercase=True)
    save(folder, encoder(bert(tokenizer), "embed_bert_plain"), tokenizer)


def embed_roberta_plain(folder: Path) -> None:
    """Likewise, where two positions are not for texts."""
    tokenizer = tokenizers.roberta()
    save(folder, encoder(roberta(tokenizer), "embed_roberta_plain"), tokenizer)


def tokens_bert(folder: Path) -> None:
    """The network of `embed_bert_plain` without a tokenizer."""
    encoder(bert(tokenizers.wordpiece(lowercase=True)), "embed_bert_plain").save_pretrained(folder)


def embed_bert_bf16(folder: Path) -> None:
    tokenizer = tokenizers.wordpiece(lowercase=True, model_max_length=POSITIONS)
    save_sentences(folder, encoder(bert(tokenizer), "embed_bert_bf16").to(torch.bfloat16), tokenizer, Normalize())


def embed_bert_f16(folder: Path) -> None:
    tokenizer = tokenizers.wordpiece(lowercase=True, model_max_length=POSITIONS)
    save(folder, encoder(bert(tokenizer), "embed_bert_f16").to(torch.float16), tokenizer)


def embed_bert_sharded(folder: Path) -> None:
    tokenizer = tokenizers.wordpiece(lowercase=False, model_max_length=POSITIONS)
    save(folder, encoder(bert(tokenizer), "embed_bert_sharded"), tokenizer, max_shard_size="60KB")


# --- classifiers ------------------------------------------------------------------------------------------------------


def classify_bert(folder: Path) -> None:
    tokenizer = tokenizers.wordpiece(lowercase=True, model_max_length=POSITIONS)
    save(folder, classifier(bert(tokenizer, **named(*TOPICS)), "classify_bert"), tokenizer)


def classify_bert_pairs(folder: Path) -> None:
    tokenizer = tokenizers.wordpiece(lowercase=False, model_max_length=POSITIONS)
    config = bert(
        tokenizer, hidden_act="relu", layer_norm_eps=EPSILON, **named("entailment", "neutral", "contradiction")
    )
    save(folder, classifier(config, "classify_bert_pairs"), tokenizer)


def classify_distilbert_multi(folder: Path) -> None:
    tokenizer = tokenizers.distilbert(model_max_length=POSITIONS)
    config = distilbert(tokenizer, problem_type="multi_label_classification", **named(*TOPICS, "weather"))
    save(folder, classifier(config, "classify_distilbert_multi"), tokenizer)


def classify_roberta(folder: Path) -> None:
    tokenizer = tokenizers.roberta(model_max_length=POSITIONS)
    save(folder, classifier(roberta(tokenizer, **named(*TOPICS)), "classify_roberta"), tokenizer)


def classify_xlm_roberta(folder: Path) -> None:
    """Without names of its own: LABEL_0, LABEL_1."""
    tokenizer = tokenizers.xlm_roberta(model_max_length=POSITIONS)
    save(folder, classifier(xlm_roberta(tokenizer, num_labels=2), "classify_xlm_roberta"), tokenizer)


def classify_modernbert_cls(folder: Path) -> None:
    tokenizer = tokenizers.modernbert(model_max_length=MODERNBERT_POSITIONS)
    config = modernbert(tokenizer, classifier_pooling="cls", **named(*TOPICS))
    save(folder, classifier(config, "classify_modernbert_cls"), tokenizer)


def classify_modernbert_mean(folder: Path) -> None:
    tokenizer = tokenizers.modernbert(model_max_length=MODERNBERT_POSITIONS)
    config = modernbert(
        tokenizer, classifier_pooling="mean", classifier_bias=True, norm_bias=True, attention_bias=True, mlp_bias=True,
        norm_eps=EPSILON, **named(*TOPICS),
    )  # fmt: skip
    save(folder, classifier(config, "classify_modernbert_mean"), tokenizer)


# --- cross-encoders ---------------------------------------------------------------------------------------------------


def rank_bert(folder: Path) -> None:
    tokenizer = tokenizers.wordpiece(lowercase=True, model_max_length=POSITIONS)
    save_cross_encoder(folder, ranker(bert(tokenizer, num_labels=1), tokenizer, "rank_bert"), tokenizer)


def rank_bert_identity(folder: Path) -> None:
    tokenizer = tokenizers.wordpiece(lowercase=True, model_max_length=POSITIONS)
    model = ranker(bert(tokenizer, num_labels=1), tokenizer, "rank_bert_identity")
    save_cross_encoder(folder, model, tokenizer, nn.Identity())


def rank_bert_plain(folder: Path) -> None:
    """Saved by transformers, which knows nothing of activations."""
    tokenizer = tokenizers.wordpiece(lowercase=False, model_max_length=POSITIONS)
    save(folder, ranker(bert(tokenizer, num_labels=1), tokenizer, "rank_bert_plain"), tokenizer)


def rank_xlm_roberta(folder: Path) -> None:
    tokenizer = tokenizers.xlm_roberta(model_max_length=POSITIONS)
    save(folder, ranker(xlm_roberta(tokenizer, num_labels=1), tokenizer, "rank_xlm_roberta"), tokenizer)


EMBEDDINGS = (
    embed_bert_mean, embed_bert_cls, embed_bert_older, embed_distilbert, embed_roberta, embed_xlm_roberta_dense,
    embed_modernbert, embed_bert_plain, embed_roberta_plain, embed_bert_bf16, embed_bert_f16, embed_bert_sharded,
)  # fmt: skip
CLASSIFIERS = (
    classify_bert, classify_bert_pairs, classify_distilbert_multi, classify_roberta, classify_xlm_roberta,
    classify_modernbert_cls, classify_modernbert_mean,
)  # fmt: skip
CROSS_ENCODERS = (rank_bert, rank_bert_identity, rank_bert_plain, rank_xlm_roberta)
TEXTS = (*EMBEDDINGS, *CLASSIFIERS, *CROSS_ENCODERS)
IMAGES = seeded_images.MODELS
# They take only what is prepared already.
PREPARED = (tokens_bert, seeded_images.pixels_vit)


def write(repository: Path, makers: tuple[Callable[[Path], None], ...]) -> Path:
    """Writes these models as version 1 of models that are called as their makers are."""
    torch.set_num_threads(1)
    for maker in makers:
        folder = repository / maker.__name__ / "1"
        folder.mkdir(parents=True)
        maker(folder)
        (folder.parent / "model.toml").write_text(SETTINGS)
    return repository


if __name__ == "__main__":
    write(Path(sys.argv[1]), (*TEXTS, *IMAGES, *PREPARED))
