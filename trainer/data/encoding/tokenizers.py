"""Text as numbers: by characters, by words, by pairs of bytes that often stand together, or as another model does.

All but the last read a text in its composed form (NFC): an accent is the same letter however it was typed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from trainer.core.dataset import UNKNOWN, Codec
from trainer.data.encoding import word_splitting
from trainer.data.encoding.pretrained_tokenizer import Pretrained
from trainer.data.readers.text_file import quoted
from trainer.utils.errors import ConfigError

MANY = 0.3
"""Share of unknown tokens that is told: of words that occur once in a small text it is a tenth."""
log = logging.getLogger(__name__)


class Characters:
    """One token a character, in the order of their code points. With ``unknown`` token 0 is any other character."""

    def __init__(self, texts: Iterable[str], *, unknown: bool):
        seen = sorted(set().union(*map(word_splitting.normalize, texts)))
        self.tokens = [UNKNOWN, *seen] if unknown else seen
        self.size = len(self.tokens)
        self.unknown = 0 if unknown else None
        self._numbers = {token: number for number, token in enumerate(self.tokens)}

    def encode(self, text: str) -> list[int]:
        text = word_splitting.normalize(text)
        found = [self._numbers.get(character, self.unknown) for character in text]
        if None in found:
            strange = text[found.index(None)]
            raise ConfigError(f"text: the character {strange!r} is not one of the {self.size} this model knows")
        return found  # type: ignore[return-value]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.tokens[token] for token in tokens if token < self.size)

    def words(self, tokens: Sequence[int]) -> list[str]:
        return word_splitting.split(self.decode(tokens))

    def state(self) -> dict[str, Any]:
        return {"kind": "characters", "tokens": self.tokens, "unknown": self.unknown is not None}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Characters:
        return cls(state["tokens"][1:] if state["unknown"] else state["tokens"], unknown=state["unknown"])


class Words:
    """One token a word or punctuation mark, or a letter of a script without blanks, the most frequent first; token 0
    is any other.

    limit: how many tokens at most. min_count: how often a word must occur to be one.

    Raises ConfigError for texts of which no word is known.
    """

    unknown: int | None = 0

    def __init__(self, texts: Iterable[str], *, limit: int | None, min_count: int):
        counts = Counter(word for text in texts for word in word_splitting.split(word_splitting.normalize(text)))
        frequent = sorted(
            (word for word, n in counts.items() if n >= min_count), key=lambda word: (-counts[word], word)
        )
        if counts and not frequent:
            raise ConfigError(
                f"data.min_count: none of the {len(counts):,} words of the training texts occurs {min_count} times,"
                f" such as {quoted(next(iter(counts)))}; data.min_count=1 knows all of them, data.tokens=characters or"
                " bytepair also new ones"
            )
        self._set([UNKNOWN, *frequent[: None if limit is None else limit - 1]])

    def _set(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.size = len(tokens)
        self._numbers = {token: number for number, token in enumerate(tokens)}

    def encode(self, text: str) -> list[int]:
        return [self._numbers.get(word, 0) for word in word_splitting.split(word_splitting.normalize(text))]

    def decode(self, tokens: Sequence[int]) -> str:
        return word_splitting.join(self.words(tokens))

    def words(self, tokens: Sequence[int]) -> list[str]:
        return [self.tokens[token] for token in tokens if token < self.size]

    def state(self) -> dict[str, Any]:
        return {"kind": "words", "tokens": self.tokens}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Words:
        codec = cls((), limit=None, min_count=1)
        codec._set(list(state["tokens"]))
        return codec


class BytePairs:
    """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019), learned from the texts: nothing is
    outside of it.

    Raises ConfigError where the package that learns it is not installed.
    """

    unknown: int | None = None

    def __init__(self, texts: Iterable[str], *, limit: int):
        Tokenizer, decoders, models, pre_tokenizers, trainers = _tokenizers()
        self._coder = Tokenizer(models.BPE())
        self._coder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._coder.decoder = decoders.ByteLevel()
        learner = trainers.BpeTrainer(
            vocab_size=limit,
            min_frequency=2,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        self._coder.train_from_iterator(map(word_splitting.normalize, texts), learner)
        self.size = self._coder.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return self._coder.encode(word_splitting.normalize(text)).ids

    def decode(self, tokens: Sequence[int]) -> str:
        return self._coder.decode([token for token in tokens if token < self.size])

    def words(self, tokens: Sequence[int]) -> list[str]:
        return word_splitting.split(self.decode(tokens))

    def state(self) -> dict[str, Any]:
        return {"kind": "bytepair", "tokenizer": self._coder.to_str()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> BytePairs:
        codec = cls.__new__(cls)
        codec._coder = _tokenizers()[0].from_str(state["tokenizer"])
        codec.size = codec._coder.get_vocab_size()
        return codec


def _tokenizers() -> tuple[Any, ...]:
    """What byte pairs are made of. Raises ConfigError where the package is not installed."""
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise ConfigError(
            "data.tokens: bytepair needs the package tokenizers: pip install 'train-zoo[text]';"
            " characters and words need nothing"
        ) from None
    return Tokenizer, decoders, models, pre_tokenizers, trainers


class Lowercased:
    """A codec that knows small letters only, and reads any."""

    def __init__(self, codec: Codec):
        self.codec = codec
        self.size, self.unknown = codec.size, codec.unknown

    def encode(self, text: str) -> list[int]:
        return self.codec.encode(word_splitting.lowercase(text))

    def decode(self, tokens: Sequence[int]) -> str:
        return self.codec.decode(tokens)

    def words(self, tokens: Sequence[int]) -> list[str]:
        return self.codec.words(tokens)

    def state(self) -> dict[str, Any]:
        return {"kind": "lowercased", "codec": self.codec.state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Lowercased:
        return cls(from_state(state["codec"]))


def describe_target(codec: Codec) -> list[str]:
    """That what is to be written is not as it was in the file, if so: scores and samples know small letters only."""
    return ["targets: in small letters (data.lowercase)"] if isinstance(codec, Lowercased) else []


def warn_of_unknown(codec: Codec, option: str, parts: dict[str, Tensor]) -> None:
    """Says in the log if many of the tokens of a part, by name, are the unknown one."""
    while isinstance(codec, Lowercased):
        codec = codec.codec
    if not isinstance(codec, Words | Characters) or codec.unknown is None:
        return
    shares = {name: float((tokens == codec.unknown).double().mean()) for name, tokens in parts.items() if len(tokens)}
    if max(shares.values(), default=0.0) > MANY:
        log.warning(
            "%s: many tokens are unknown: %s; fewer are by data.min_count=1, a larger data.vocab_limit, or"
            " data.tokens=characters or bytepair",
            *(option, ", ".join(f"{share:.0%} of those of the {name} rows" for name, share in shares.items())),
        )


BYTES = 256
"""Byte pairs begin with a token for every byte."""


def learn(
    kind: Literal["characters", "words", "bytepair", "pretrained"],
    texts: Sequence[str],
    *,
    limit: int | None = None,
    min_count: int = 1,
    unknown: bool = True,
    lowercase: bool = False,
    tokenizer: str | None = None,
    most: int | None = None,
    keep: Literal["first", "last"] = "first",
) -> Codec:
    """A codec of one kind for texts such as these.

    lowercase: large and small letters are the same. tokenizer: names the saved model whose own one is ``pretrained``,
    which knows what to do with letters; of a text it keeps ``most`` tokens of the ``keep`` end, its marks among them.

    Raises ConfigError for byte pairs without a limit, or with one that is less than there are bytes.
    """
    if kind == "pretrained":
        if tokenizer is None:
            raise ConfigError("data.tokenizer: tokens=pretrained needs the name or folder of a saved model")
        return Pretrained(tokenizer, most, keep)
    if lowercase:
        small = [word_splitting.lowercase(text) for text in texts]
        return Lowercased(learn(kind, small, limit=limit, min_count=min_count, unknown=unknown))
    if kind == "characters":
        return Characters(texts, unknown=unknown)
    if kind == "words":
        return Words(texts, limit=limit, min_count=min_count)
    if limit is None or limit < BYTES:
        raise ConfigError(f"data.vocab_limit: bytepair takes a number of at least {BYTES} tokens; given {limit}")
    return BytePairs(texts, limit=limit)


CODECS = {
    "characters": Characters,
    "words": Words,
    "bytepair": BytePairs,
    "lowercased": Lowercased,
    "pretrained": Pretrained,
}


def from_state(state: Mapping[str, Any]) -> Codec:
    """The codec that a state of plain values describes."""
    return CODECS[state["kind"]].from_state(state)  # type: ignore[attr-defined]
