"""Tokenizers: characters, words, byte-pair encoding, or that of a pretrained model.

All except the last normalize text to NFC, so that accented letters have one encoding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast

from trainer.core.tokenizer import UNKNOWN_TOKEN, Tokenizer
from trainer.data.encoding import word_splitting
from trainer.data.readers.text_file import quote_cell
from trainer.utils.errors import DataError


class CharacterTokenizer:
    """Character tokenizer, ordered by code point; with ``unknown``, token 0 is any other character.

    Args:
        texts: Texts with the characters of the vocabulary.
        unknown: Whether there is a token for other characters.
    """

    def __init__(self, texts: Iterable[str], *, unknown: bool):
        characters = sorted(set().union(*map(word_splitting.normalize_unicode, texts)))
        self.tokens = [UNKNOWN_TOKEN, *characters] if unknown else characters
        self.vocab_size = len(self.tokens)
        self.unknown_id = 0 if unknown else None
        self._numbers = {token: number for number, token in enumerate(self.tokens)}

    def encode(self, text: str) -> list[int]:
        text = word_splitting.normalize_unicode(text)
        ids = [self._numbers.get(character, self.unknown_id) for character in text]
        if None in ids:
            unknown = text[ids.index(None)]
            raise DataError(f"text: character {unknown!r} is not in the vocabulary of {self.vocab_size} characters")
        return cast(list[int], ids)

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.tokens[token] for token in tokens if token < self.vocab_size)

    def decode_words(self, tokens: Sequence[int]) -> list[str]:
        return word_splitting.split_words(self.decode(tokens))

    def state_dict(self) -> dict[str, Any]:
        return {"kind": "characters", "tokens": self.tokens, "unknown": self.unknown_id is not None}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CharacterTokenizer:
        return cls(state["tokens"][1:] if state["unknown"] else state["tokens"], unknown=state["unknown"])


class WordTokenizer:
    """Word tokenizer, ordered by frequency; token 0 is any other word.

    A token is a word, a punctuation mark or a character of an unspaced script.

    Args:
        texts: Training texts.
        limit: Maximum vocabulary size.
        min_count: Minimum frequency of a word in the vocabulary.

    Raises:
        DataError: No word reaches ``min_count``.
    """

    unknown_id: int | None = 0

    def __init__(self, texts: Iterable[str], *, limit: int | None, min_count: int):
        counts = Counter(
            word for text in texts for word in word_splitting.split_words(word_splitting.normalize_unicode(text))
        )
        frequent = sorted(
            (word for word, n in counts.items() if n >= min_count), key=lambda word: (-counts[word], word)
        )
        if counts and not frequent:
            raise DataError(
                f"min_count: none of the {len(counts):,} words of the training texts occurs {min_count} times,"
                f" such as {quote_cell(next(iter(counts)))}; data.min_count=1 includes all of them, "
                "data.tokens=characters or"
                " bytepair also new ones"
            )
        self._set_vocabulary([UNKNOWN_TOKEN, *frequent[: None if limit is None else limit - 1]])

    def _set_vocabulary(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.vocab_size = len(tokens)
        self._numbers = {token: number for number, token in enumerate(tokens)}

    def encode(self, text: str) -> list[int]:
        return [
            self._numbers.get(word, 0) for word in word_splitting.split_words(word_splitting.normalize_unicode(text))
        ]

    def decode(self, tokens: Sequence[int]) -> str:
        return word_splitting.join_words(self.decode_words(tokens))

    def decode_words(self, tokens: Sequence[int]) -> list[str]:
        return [self.tokens[token] for token in tokens if token < self.vocab_size]

    def state_dict(self) -> dict[str, Any]:
        return {"kind": "words", "tokens": self.tokens}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> WordTokenizer:
        tokenizer = cls((), limit=None, min_count=1)
        tokenizer._set_vocabulary(list(state["tokens"]))
        return tokenizer


class BPETokenizer:
    """Byte-level byte-pair encoding, trained on the texts, without unknown tokens.

    Args:
        texts: Training texts.
        limit: Maximum vocabulary size, at least 256.

    Raises:
        DataError: The package tokenizers is not installed.

    References:
        Sennrich et al. 2016, Neural Machine Translation of Rare Words with Subword Units.
        Radford et al. 2019, Language Models are Unsupervised Multitask Learners (byte level).
    """

    unknown_id: int | None = None

    def __init__(self, texts: Iterable[str], *, limit: int):
        Tokenizer, decoders, models, pre_tokenizers, trainers = _import_tokenizers()
        self._tokenizer = Tokenizer(models.BPE())
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        learner = trainers.BpeTrainer(
            vocab_size=limit,
            min_frequency=2,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        self._tokenizer.train_from_iterator(map(word_splitting.normalize_unicode, texts), learner)
        self.vocab_size = self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(word_splitting.normalize_unicode(text)).ids

    def decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode([token for token in tokens if token < self.vocab_size])

    def decode_words(self, tokens: Sequence[int]) -> list[str]:
        return word_splitting.split_words(self.decode(tokens))

    def state_dict(self) -> dict[str, Any]:
        return {"kind": "bytepair", "tokenizer": self._tokenizer.to_str()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> BPETokenizer:
        tokenizer = cls.__new__(cls)
        tokenizer._tokenizer = _import_tokenizers()[0].from_str(state["tokenizer"])
        tokenizer.vocab_size = tokenizer._tokenizer.get_vocab_size()
        return tokenizer


def _import_tokenizers() -> tuple[Any, ...]:
    """Import the package tokenizers. Raises DataError if it is not installed."""
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise DataError(
            "tokens: bytepair needs the package tokenizers: pip install 'train-zoo[text]';"
            " characters and words need no package"
        ) from None
    return Tokenizer, decoders, models, pre_tokenizers, trainers


class LowercaseTokenizer:
    """Wrapper of a tokenizer that lowercases its input."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.vocab_size, self.unknown_id = tokenizer.vocab_size, tokenizer.unknown_id

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(word_splitting.to_lowercase(text))

    def decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens)

    def decode_words(self, tokens: Sequence[int]) -> list[str]:
        return self.tokenizer.decode_words(tokens)

    def state_dict(self) -> dict[str, Any]:
        return {"kind": "lowercased", "tokenizer": self.tokenizer.state_dict()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LowercaseTokenizer:
        former_key = "codec"  # in checkpoints before version 5
        return cls(tokenizer_from_state(state["tokenizer"] if "tokenizer" in state else state[former_key]))


def describe_target_case(tokenizer: Tokenizer) -> list[str]:
    """Return a summary line if targets are lowercased, as scores and samples then are too."""
    return ["targets: lowercased (data.lowercase)"] if isinstance(tokenizer, LowercaseTokenizer) else []


NUM_BYTES = 256
"""Initial alphabet of byte-pair encoding: one token per byte."""


def fit_tokenizer(
    kind: Literal["characters", "words", "bytepair", "pretrained"],
    texts: Sequence[str],
    *,
    limit: int | None = None,
    min_count: int = 1,
    unknown: bool = True,
    lowercase: bool = False,
    tokenizer: str | None = None,
    max_length: int | None = None,
    keep: Literal["first", "last"] = "first",
) -> Tokenizer:
    """Fit a tokenizer on texts.

    Args:
        kind: Type of the tokenizer.
        texts: Training texts.
        limit: Maximum vocabulary size.
        min_count: Minimum frequency of a word in the vocabulary.
        unknown: Whether characters have an unknown token.
        lowercase: Lowercase all text; ignored for ``pretrained``, which has its own rule.
        tokenizer: Pretrained model whose tokenizer is loaded.
        max_length: Maximum number of tokens of a text for ``pretrained``, special tokens included.
        keep: End of the text that truncation keeps.

    Raises:
        DataError: Byte-pair encoding has no limit, or one below 256.
    """
    if kind == "pretrained":
        if tokenizer is None:
            raise DataError("tokenizer: tokens=pretrained needs the name or directory of a pretrained model")
        from trainer.data.encoding.pretrained_tokenizer import PretrainedTokenizer

        return PretrainedTokenizer(tokenizer, max_length, keep)
    if lowercase:
        lowercased = [word_splitting.to_lowercase(text) for text in texts]
        return LowercaseTokenizer(fit_tokenizer(kind, lowercased, limit=limit, min_count=min_count, unknown=unknown))
    if kind == "characters":
        return CharacterTokenizer(texts, unknown=unknown)
    if kind == "words":
        return WordTokenizer(texts, limit=limit, min_count=min_count)
    if limit is None or limit < NUM_BYTES:
        raise DataError(f"vocab_limit: {limit} given; bytepair needs at least {NUM_BYTES}")
    return BPETokenizer(texts, limit=limit)


TOKENIZERS: Mapping[str, Any] = {
    "characters": CharacterTokenizer,
    "words": WordTokenizer,
    "bytepair": BPETokenizer,
    "lowercased": LowercaseTokenizer,
}


def tokenizer_from_state(state: Mapping[str, Any]) -> Tokenizer:
    """Restore a tokenizer from its state."""
    if state["kind"] == "pretrained":
        from trainer.data.encoding.pretrained_tokenizer import PretrainedTokenizer

        return PretrainedTokenizer.from_state(state)
    return TOKENIZERS[state["kind"]].from_state(state)
