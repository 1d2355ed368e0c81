"""Model folders that are broken, absurd or malicious: how each is made of a good one, and what its refusal must name."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

WEIGHTS, CONFIG = "model.safetensors", "config.json"
TOKENIZER, PREPROCESSOR = "tokenizer.json", "preprocessor_config.json"
INDEX, MODULES, POOLING, DENSE = "model.safetensors.index.json", "modules.json", "1_Pooling/config.json", "2_Dense/config.json"
MIB = 1 << 20


class Hostile(NamedTuple):
    """`good`: the model whose folder is changed; `named`: patterns of what the log must say beside the model's name."""

    name: str
    good: str
    change: Callable[[Path], object]
    named: tuple[str, ...]


# --- ways to spoil a folder -------------------------------------------------------------------------------------------


def content(file: str, data: bytes | str) -> Callable[[Path], None]:
    """The file holds this instead."""

    def change(folder: Path) -> None:
        (folder / file).write_bytes(data.encode() if isinstance(data, str) else data)

    return change


def cut(file: str, keep: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[: int(len(whole) * keep)])

    return change


def without(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def edited(file: str, change_json: Callable[[dict], object]) -> Callable[[Path], None]:
    """The file's JSON after a change in place."""

    def change(folder: Path) -> None:
        data = json.loads((folder / file).read_text())
        change_json(data)
        (folder / file).write_text(json.dumps(data))

    return change


def with_config(**settings) -> Callable[[Path], None]:
    return edited(CONFIG, lambda config: config.update(settings))


def with_weights(change_tensors: Callable[[dict], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change_tensors(tensors)
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})

    return change


def with_header(change_header: Callable[[dict], object]) -> Callable[[Path], None]:
    """The weights' header after a change in place, before the same data."""

    def change(folder: Path) -> None:
        whole = (folder / WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", whole[:8])
        header = json.loads(whole[8 : 8 + length])
        change_header(header)
        text = json.dumps(header).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + length :])

    return change


def pipe(file: str) -> Callable[[Path], None]:
    """A file whose reading never ends, because nobody writes to it."""

    def change(folder: Path) -> None:
        (folder / file).unlink()
        os.mkfifo(folder / file)

    return change


def directory(file: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return change


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


# --- weights ----------------------------------------------------------------------------------------------------------

WORDS, QUERY = "embeddings.word_embeddings.weight", "encoder.layer.1.attention.self.query.weight"


def with_query(array: np.ndarray) -> Callable[[Path], None]:
    return with_weights(lambda tensors: tensors.update({QUERY: array}))


def overlapping(header: dict) -> None:
    header[QUERY]["data_offsets"] = header[QUERY.replace("query", "key")]["data_offsets"]


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def bert(name: str, change: Callable[[Path], object], *named: str) -> Hostile:
    return Hostile(name, "embed_bert_plain", change, named)


WEIGHT_FOLDERS = [
    bert("weights_cut", cut(WEIGHTS, 0.5), WEIGHTS),
    bert("weights_cut_by_one", cut(WEIGHTS, 0.999999), WEIGHTS),
    bert("weights_header_cut", cut(WEIGHTS, 0.003), WEIGHTS),
    bert("weights_empty", content(WEIGHTS, b""), WEIGHTS),
    bert("weights_garbage", content(WEIGHTS, bytes(range(256)) * 100), WEIGHTS),
    bert("weights_header_bomb", content(WEIGHTS, struct.pack("<Q", 2**62) + b"{}"), WEIGHTS),
    bert("weights_header_of_4_gib", content(WEIGHTS, struct.pack("<Q", 2**32) + b"{}"), WEIGHTS),
    bert("weights_header_nested", content(WEIGHTS, struct.pack("<Q", 200_000) + nested(100_000).encode()), WEIGHTS),
    bert("weights_overlapping", with_header(overlapping), WEIGHTS),
    bert("weights_beyond_the_end", with_header(lambda header: header[QUERY].update(data_offsets=[0, 2**63])), WEIGHTS),
    bert("weights_of_huge_shape", with_header(lambda header: header[QUERY].update(shape=[2**32, 2**32])), WEIGHTS),
    bert("weights_pickled", pickled, "pytorch_model.bin"),
    bert("weights_pickled_by_name", content(WEIGHTS, b"\x80\x04\x95" + bytes(1000)), WEIGHTS),
    bert("weights_zipped_by_name", content(WEIGHTS, b"PK\x03\x04" + bytes(1000)), WEIGHTS),
    bert("weights_are_a_folder", directory(WEIGHTS), WEIGHTS),
    bert("weights_are_a_pipe", pipe(WEIGHTS), WEIGHTS),
    bert("weights_missing", without(WEIGHTS), WEIGHTS),
    bert("tensor_missing", with_weights(lambda tensors: tensors.pop(QUERY)), WEIGHTS, QUERY),
    bert("tensor_of_integers", with_query(np.ones((32, 32), np.int64)), WEIGHTS, QUERY),
    bert("tensor_of_other_shape", with_query(np.ones((32, 31), np.float32)), WEIGHTS, QUERY),
    bert("tensor_of_other_rank", with_query(np.ones(1024, np.float32)), WEIGHTS, QUERY),
    bert("layers_too_many", with_config(num_hidden_layers=2), WEIGHTS, "encoder.layer.2"),
    bert("layers_too_few", with_config(num_hidden_layers=4), WEIGHTS, "encoder.layer.3"),
]

# --- shards -----------------------------------------------------------------------------------------------------------

SHARD = "model-00002-of-00003.safetensors"


def all_in(file: str) -> Callable[[dict], None]:
    return lambda index: index.update(weight_map=dict.fromkeys(index["weight_map"], file))


def sharded(name: str, change: Callable[[Path], object], *named: str) -> Hostile:
    return Hostile(name, "embed_bert_sharded", change, named)


SHARD_FOLDERS = [
    sharded("shard_missing", without(SHARD), SHARD),
    sharded("shard_cut", cut(SHARD, 0.5), SHARD),
    sharded("shard_without_its_tensors", edited(INDEX, all_in(SHARD)), SHARD),
    sharded("shard_above", edited(INDEX, all_in("../../embed_bert_plain/1/model.safetensors")), INDEX),
    sharded("shard_elsewhere", edited(INDEX, all_in("/etc/passwd")), INDEX),
    sharded("shard_of_no_text", edited(INDEX, all_in(7)), INDEX),
    sharded("index_empty", content(INDEX, ""), INDEX),
    sharded("index_without_a_map", content(INDEX, "{}"), INDEX),
]

# --- configurations ---------------------------------------------------------------------------------------------------


def config(name: str, *named: str, good: str = "embed_bert_plain", **settings) -> Hostile:
    return Hostile(f"config_{name}", good, with_config(**settings), (CONFIG, *(named or settings)))


def disagrees(name: str, tensor: str, good: str = "embed_bert_plain", **setting) -> Hostile:
    """A setting that would be sound with other weights: either side of the disagreement may be named."""
    return Hostile(f"config_{name}", good, with_config(**setting), (f"{CONFIG}|{WEIGHTS}", "|".join([*setting, tensor])))


def with_code(folder: Path) -> None:
    with_config(model_type="mine", auto_map={"AutoModel": "code.Mine", "AutoConfig": "code.Config"})(folder)
    (folder / "code.py").write_text("raise SystemExit('this was run')")


CONFIG_FOLDERS = [
    disagrees("hidden_huge", "embeddings", hidden_size=2**40),
    config("hidden_beyond_64_bits", hidden_size=2**70),
    config("hidden_negative", hidden_size=-32),
    config("hidden_zero", hidden_size=0),
    config("hidden_text", hidden_size="32"),
    disagrees("layers_huge", "layer.3", num_hidden_layers=10**9),
    config("layers_negative", num_hidden_layers=-1),
    config("heads_do_not_divide", num_attention_heads=5),
    config("heads_zero", num_attention_heads=0),
    config("heads_negative", num_attention_heads=-4),
    disagrees("vocabulary_huge", "word_embeddings", vocab_size=2**62),
    disagrees("positions_huge", "position_embeddings", max_position_embeddings=2**62),
    config("positions_zero", max_position_embeddings=0),
    disagrees("inner_huge", "intermediate", intermediate_size=2**40),
    config("epsilon_negative", layer_norm_eps=-1.0),
    config("activation_unknown", "hidden_act", "sorcery", hidden_act="sorcery"),
    config("type_unknown", "model_type", "sorcery", model_type="sorcery"),
    config("type_generative", "model_type", "llama", model_type="llama"),
    config("task_unknown", "architectures", "BertForSorcery", architectures=["BertForSorcery"]),
    config("task_other", "architectures", "BertForQuestionAnswering", architectures=["BertForQuestionAnswering"]),
    config("relative_positions", position_embedding_type="relative_key"),
    config("decoder", is_decoder=True),
    disagrees("labels_huge", "classifier", good="classify_bert", id2label={str(2**62): "x"}),
    disagrees("labels_too_many", "classifier", good="classify_bert", id2label={str(i): f"l{i}" for i in range(9)}),
    config("labels_with_a_gap", "id2label", good="classify_bert", id2label={"0": "a", "2": "b", "3": "c", "5": "d"}),
    config("problem_unknown", "problem_type", "sorcery", good="classify_bert", problem_type="sorcery"),
    config("layer_types_too_few", "layer_types", good="embed_modernbert", layer_types=["full_attention"]),
    config("layer_types_unknown", "layer_types", good="embed_modernbert", layer_types=["sorcery"] * 4),
    config("window_negative", "local_attention", good="embed_modernbert", local_attention=-16),
    config("theta_zero", "rope", good="embed_modernbert", rope_parameters={
        kind: {"rope_type": "default", "rope_theta": 0.0} for kind in ("full_attention", "sliding_attention")}),
    config("patch_zero", "patch_size", good="vit_32", patch_size=0),
    disagrees("patch_huge", "projection", good="vit_32", patch_size=2**40),
    disagrees("depths_huge", "stages", good="resnet_basic", depths=[10**9] * 4),
    config("layer_type_unknown", "layer_type", good="resnet_basic", layer_type="sorcery"),
    Hostile("config_with_code", "embed_bert_plain", with_code, (CONFIG, "auto_map")),
    bert("config_empty", content(CONFIG, ""), CONFIG),
    bert("config_cut", cut(CONFIG, 0.5), CONFIG),
    bert("config_garbage", content(CONFIG, b"\xff\xfe{"), CONFIG),
    bert("config_list", content(CONFIG, "[]"), CONFIG),
    bert("config_nested", content(CONFIG, nested(100_000)), CONFIG),
    bert("config_is_a_pipe", pipe(CONFIG), CONFIG),
    bert("config_of_64_mib", content(CONFIG, b'{"a": "' + b"a" * (64 * MIB) + b'"}'), CONFIG),
]  # fmt: skip

# --- tokenizers -------------------------------------------------------------------------------------------------------


def tokenizer(name: str, change_json: Callable[[dict], object], *named: str) -> Hostile:
    return bert(f"tokenizer_{name}", edited(TOKENIZER, change_json), TOKENIZER, *named)


def added(count: int, chars: int, first: int = 1700) -> Callable[[dict], None]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return lambda data: data["added_tokens"].extend(
        {"id": first + i, "content": f"<{i}>".ljust(chars, "x"), **flags} for i in range(count)
    )


TOKENIZER_FOLDERS = [
    bert("tokenizer_empty", content(TOKENIZER, ""), TOKENIZER),
    bert("tokenizer_cut", cut(TOKENIZER, 0.7), TOKENIZER),
    bert("tokenizer_garbage", content(TOKENIZER, bytes(range(256)) * 100), TOKENIZER),
    bert("tokenizer_nested", content(TOKENIZER, nested(100_000)), TOKENIZER),
    bert("tokenizer_is_a_pipe", pipe(TOKENIZER), TOKENIZER),
    tokenizer("of_many_added_tokens", added(200_000, 10)),
    tokenizer("of_gigantic_added_tokens", added(10, 5 * MIB)),
    tokenizer("beyond_the_embedding", lambda data: data["model"]["vocab"].update(sorcery=1700), "1700"),
    tokenizer("added_beyond_the_embedding", added(1, 10, 1_000_000), "1699"),
    tokenizer("of_unknown_kind", lambda data: data["model"].update(type="Sorcery")),
    tokenizer("without_its_unknown", lambda data: data["model"]["vocab"].pop("[UNK]")),
    tokenizer("of_garbage_charsmap", lambda data: data.update(
        normalizer={"type": "Precompiled", "precompiled_charsmap": "/////w=="}), "charsmap"),
    tokenizer("of_a_bad_pattern", lambda data: data.update(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated", "invert": False})),
    tokenizer("of_unknown_special_tokens", lambda data: data["post_processor"].update(special_tokens={})),
]  # fmt: skip

# --- sentence-transformers' and images' own files ---------------------------------------------------------------------


def modules(name: str, change: Callable[[Path], object], *named: str) -> Hostile:
    return Hostile(f"modules_{name}", "embed_xlm_roberta_dense", change, named)


def module(number: int, **settings) -> Callable[[Path], None]:
    return edited(MODULES, lambda entries: entries[number].update(settings))


MODULE_FOLDERS = [
    modules("empty", content(MODULES, ""), MODULES),
    modules("unknown", module(1, type="sentence_transformers.models.LSTM"), MODULES, "LSTM"),
    modules("with_code", module(1, type="code.Mine"), MODULES, "code.Mine"),
    modules("above", module(1, path="../../embed_bert_mean/1/1_Pooling"), MODULES),
    modules("elsewhere", module(1, path="/etc"), MODULES),
    modules("without_pooling", without(POOLING), POOLING),
    modules("pooling_unknown", edited(POOLING, lambda data: data.update(pooling_mode="sorcery")), POOLING, "sorcery"),
    modules("pooling_of_other_width", edited(POOLING, lambda data: data.update(embedding_dimension=33)), POOLING, "33"),
    modules("dense_of_other_width", edited(DENSE, lambda data: data.update(in_features=33)), "2_Dense", "33"),
    modules("dense_huge", edited(DENSE, lambda data: data.update(out_features=2**40)), "2_Dense"),
    modules("dense_with_code", edited(DENSE, lambda data: data.update(activation_function="os.abort")), DENSE, "os.abort"),
    modules("dense_cut", cut("2_Dense/model.safetensors", 0.5), "2_Dense"),
]  # fmt: skip


def processor(name: str, *named: str, **settings) -> Hostile:
    change = edited(PREPROCESSOR, lambda data: data.update(settings))
    return Hostile(f"processor_{name}", "vit_32", change, (PREPROCESSOR, *(named or settings)))


PROCESSOR_FOLDERS = [
    processor("size_huge", size={"height": 2**31, "width": 2**31}),
    processor("size_zero", size={"height": 0, "width": 32}),
    processor("size_negative", size={"height": -32, "width": 32}),
    processor("size_not_the_models", size={"height": 40, "width": 40}),
    processor("size_unknown", size={"sorcery": 32}),
    processor("deviation_zero", image_std=[0.5, 0.0, 0.5]),
    processor("mean_of_two", image_mean=[0.5, 0.5]),
    processor("resample_unknown", resample=99),
    processor("unknown", "image_processor_type", "SorceryImageProcessor", image_processor_type="SorceryImageProcessor"),
    Hostile("processor_empty", "vit_32", content(PREPROCESSOR, ""), (PREPROCESSOR,)),
]

FOLDERS = [
    *WEIGHT_FOLDERS, *SHARD_FOLDERS, *CONFIG_FOLDERS, *TOKENIZER_FOLDERS, *MODULE_FOLDERS, *PROCESSOR_FOLDERS,
]  # fmt: skip
