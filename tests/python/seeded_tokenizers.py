"""Small tokenizers of each family on the built-in texts, in the classes that the models' own libraries use.

The vocabularies of WordPiece and Unigram are counted here, because the trainers of `tokenizers` give another one each time.
"""

import json
import math
from collections import Counter

from sentences import corpus
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertTokenizer,
    DistilBertTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

PIECES = 1200
PIECE_CHARS_MAX = 6
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
MODERNBERT_SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]


def words_of_corpus(normalizer, pre_tokenizer) -> Counter:
    texts = (normalizer.normalize_str(text) for text in corpus())
    return Counter(word for text in texts for word, _ in pre_tokenizer.pre_tokenize_str(text))


def frequent_pieces(words: Counter, inner: str) -> list[tuple[str, int]]:
    """Parts of words and how often they occur: every character, then what covers most. Those inside begin with `inner`."""
    counts = Counter()
    for word, times in words.items():
        for begin in range(len(word)):
            for end in range(begin + 1, min(len(word), begin + PIECE_CHARS_MAX) + 1):
                counts[(inner if begin else "") + word[begin:end]] += times
    chars = {piece for piece in counts if len(piece.removeprefix(inner)) == 1}
    ranked = sorted(counts.items(), key=lambda pair: (pair[0] not in chars, -pair[1] * len(pair[0]), pair[0]))
    return ranked[: len(chars) + PIECES]


def wordpiece(lowercase: bool, kind: type = BertTokenizer, **settings) -> PreTrainedTokenizerBase:
    """BERT's."""
    words = words_of_corpus(normalizers.BertNormalizer(lowercase=lowercase), pre_tokenizers.BertPreTokenizer())
    pieces = [*BERT_SPECIAL, *(piece for piece, _ in frequent_pieces(words, inner="##"))]
    return kind(vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=lowercase, **settings)


def distilbert(**settings) -> PreTrainedTokenizerBase:
    return wordpiece(lowercase=True, kind=DistilBertTokenizer, **settings)


def xlm_roberta(**settings) -> PreTrainedTokenizerBase:
    """Unigram on words that begin with a low line."""
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    pieces = frequent_pieces(words_of_corpus(normalizers.NFKC(), split), inner="")
    total = sum(times for _, times in pieces)
    scored = [(piece, math.log(times / total)) for piece, times in pieces]
    vocabulary = [*((token, 0.0) for token in ROBERTA_SPECIAL[:4]), *scored, ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=vocabulary, **settings)


def byte_bpe(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a trained byte-level BPE, which come out the same each time."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def roberta(**settings) -> PreTrainedTokenizerBase:
    vocabulary, merges = byte_bpe(ROBERTA_SPECIAL)
    return RobertaTokenizer(vocab=vocabulary, merges=merges, **settings)


def modernbert(**settings) -> PreTrainedTokenizerBase:
    """ModernBERT has no class of its own: a byte-level BPE with BERT's special tokens."""
    vocabulary, merges = byte_bpe(MODERNBERT_SPECIAL)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, lstrip=token == "[MASK]") for token in MODERNBERT_SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
        **settings,
    )  # fmt: skip
