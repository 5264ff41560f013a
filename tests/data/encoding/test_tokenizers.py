"""Tokenizers: round trip, vocabulary, normalization, lowercasing and errors."""

from __future__ import annotations

import pytest

from trainer.core.tokenizer import UNKNOWN_TOKEN, Tokenizer
from trainer.data.encoding import tokenizers
from trainer.utils.errors import DataError

POEM = ["The cat, the dog.", "the bird (a thrush) isn't here!", "Größe zählt: 3,5 %"]
TOKENIZERS = {
    "characters": lambda: tokenizers.fit_tokenizer("characters", POEM, unknown=False),
    "words": lambda: tokenizers.fit_tokenizer("words", POEM),
    "bytepair": lambda: tokenizers.fit_tokenizer("bytepair", POEM * 3, limit=300),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("sentence", POEM)
def test_decode_inverts_encode(kind: str, sentence: str) -> None:
    tokenizer: Tokenizer = TOKENIZERS[kind]()
    tokens = tokenizer.encode(sentence)
    assert all(0 <= token < tokenizer.vocab_size for token in tokens)
    expected = sentence.replace("3,5", "3, 5").replace("5 %", "5%") if kind == "words" else sentence
    assert tokenizer.decode(tokens) == expected
    assert tokenizer.decode([*tokens, tokenizer.vocab_size, tokenizer.vocab_size + 1]) == expected


def test_word_tokens_are_sorted_by_frequency() -> None:
    tokenizer = tokenizers.WordTokenizer(["b b a a c . .", "b"], limit=None, min_count=1)
    assert tokenizer.tokens == [UNKNOWN_TOKEN, "b", ".", "a", "c"]
    assert tokenizers.WordTokenizer(["b b a a c . .", "b"], limit=3, min_count=1).tokens == [UNKNOWN_TOKEN, "b", "."]
    assert tokenizers.WordTokenizer(["b b a a c . .", "b"], limit=None, min_count=3).tokens == [UNKNOWN_TOKEN, "b"]


def test_unseen_words_map_to_unknown_and_byte_pairs_cover_everything() -> None:
    words = tokenizers.fit_tokenizer("words", POEM)
    assert words.encode("the zebra") == [words.encode("the")[0], 0]
    assert words.decode_words([0]) == [UNKNOWN_TOKEN]
    pairs = tokenizers.fit_tokenizer("bytepair", POEM * 3, limit=300)
    assert pairs.decode(pairs.encode("zebra ☃")) == "zebra ☃"
    assert len(pairs.encode("the")) == 1


@pytest.mark.parametrize("kind", ["characters", "words", "bytepair"])
def test_unicode_is_normalized(kind: str) -> None:
    decomposed, composed = "cafe\u0301 e\u0301te\u0301", "caf\u00e9 \u00e9t\u00e9"
    for text in (decomposed, composed):
        tokenizer = tokenizers.fit_tokenizer(kind, [text] * 3, limit=300)  # type: ignore[arg-type]
        assert tokenizer.encode(decomposed) == tokenizer.encode(composed)
        assert tokenizer.decode(tokenizer.encode(decomposed)) == composed
        assert tokenizer.decode_words(tokenizer.encode(decomposed)) == composed.split()


def test_hindi_and_chinese_words_are_known_in_new_sentences() -> None:
    hindi = tokenizers.fit_tokenizer("words", ["वे नदी देखते हैं", "हम नदी देखते हैं"])
    assert hindi.vocab_size == 1 + 5
    assert hindi.decode(hindi.encode("हम नदी देखते हैं")) == "हम नदी देखते हैं"
    chinese = tokenizers.fit_tokenizer("words", ["我看见河。", "你看见山。"])
    assert 0 not in chinese.encode("我看见山。"), "a new sentence of known letters"
    assert chinese.decode(chinese.encode("我看见山。")) == "我看见山。"


def test_turkish_dotted_capital_is_lowercased_to_i() -> None:
    tokenizer = tokenizers.fit_tokenizer("words", ["istanbul güzel"], lowercase=True)
    assert 0 not in tokenizer.encode("İstanbul GÜZEL")


def test_unknown_character_raises_or_maps_to_unknown() -> None:
    with pytest.raises(DataError, match="character 'q' is not in the vocabulary"):
        tokenizers.fit_tokenizer("characters", POEM, unknown=False).encode("the quiz")
    assert tokenizers.fit_tokenizer("characters", POEM).encode("q") == [0]


@pytest.mark.parametrize("limit", [None, 100])
def test_bytepair_limit_below_256_raises(limit: int | None) -> None:
    with pytest.raises(DataError, match=f"{limit} given; bytepair needs at least 256"):
        tokenizers.fit_tokenizer("bytepair", POEM, limit=limit)


def test_missing_tokenizers_package_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"pip install 'train-zoo\[text\]'"):
        tokenizers.fit_tokenizer("bytepair", POEM, limit=300)


@pytest.mark.parametrize("kind", ["characters", "words", "bytepair"])
def test_lowercase_ignores_case(kind: str) -> None:
    tokenizer = tokenizers.fit_tokenizer(kind, POEM * 3, limit=300, lowercase=True)  # type: ignore[arg-type]
    assert tokenizer.encode("THE Cat") == tokenizer.encode("the cat")
    assert tokenizer.decode(tokenizer.encode("THE Cat")) == "the cat"
    assert tokenizer.decode_words(tokenizer.encode("The DOG")) == ["the", "dog"]
    assert tokenizer.vocab_size < tokenizers.fit_tokenizer(kind, POEM * 3, limit=300).vocab_size or kind == "bytepair"  # type: ignore[arg-type]


def test_min_count_above_all_counts_raises() -> None:
    once = [f"x{number}" for number in range(36)]
    with pytest.raises(DataError, match=r"^min_count: none of the 36 words of the training texts occurs 2 times"):
        tokenizers.fit_tokenizer("words", once, min_count=2)
    assert tokenizers.fit_tokenizer("words", once, min_count=1).vocab_size == 37
