"""Text to numbers and back."""

from __future__ import annotations

import pytest

from trainer.core.tokenizer import UNKNOWN_TOKEN, Tokenizer
from trainer.data.encoding import tokenizers
from trainer.utils.errors import DataError

POEM = ["The cat, the dog.", "the bird (a thrush) isn't here!", "Größe zählt: 3,5 %"]
CODECS = {
    "characters": lambda: tokenizers.fit_tokenizer("characters", POEM, unknown=False),
    "words": lambda: tokenizers.fit_tokenizer("words", POEM),
    "bytepair": lambda: tokenizers.fit_tokenizer("bytepair", POEM * 3, limit=300),
}


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("sentence", POEM)
def test_fitted_state_is_restored(kind: str, sentence: str) -> None:
    codec: Tokenizer = CODECS[kind]()
    tokens = codec.encode(sentence)
    assert all(0 <= token < codec.vocab_size for token in tokens)
    expected = sentence.replace("3,5", "3, 5").replace("5 %", "5%") if kind == "words" else sentence
    assert codec.decode(tokens) == expected
    assert codec.decode([*tokens, codec.vocab_size, codec.vocab_size + 1]) == expected


def test_words_are_numbered_by_how_often_they_occur() -> None:
    codec = tokenizers.WordTokenizer(["b b a a c . .", "b"], limit=None, min_count=1)
    assert codec.tokens == [UNKNOWN_TOKEN, "b", ".", "a", "c"]
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
    parts, whole = "cafe\u0301 e\u0301te\u0301", "caf\u00e9 \u00e9t\u00e9"
    for learned in (parts, whole):
        codec = tokenizers.fit_tokenizer(kind, [learned] * 3, limit=300)  # type: ignore[arg-type]
        assert codec.encode(parts) == codec.encode(whole)
        assert codec.decode(codec.encode(parts)) == whole
        assert codec.decode_words(codec.encode(parts)) == whole.split()


def test_words_with_marks_and_letters_without_blanks_are_known_again() -> None:
    hindi = tokenizers.fit_tokenizer("words", ["वे नदी देखते हैं", "हम नदी देखते हैं"])
    assert hindi.vocab_size == 1 + 5
    assert hindi.decode(hindi.encode("हम नदी देखते हैं")) == "हम नदी देखते हैं"
    chinese = tokenizers.fit_tokenizer("words", ["我看见河。", "你看见山。"])
    assert 0 not in chinese.encode("我看见山。"), "a sentence that was never seen, of letters that were"
    assert chinese.decode(chinese.encode("我看见山。")) == "我看见山。"


def test_the_dotted_capital_of_turkish_is_an_i() -> None:
    codec = tokenizers.fit_tokenizer("words", ["istanbul güzel"], lowercase=True)
    assert 0 not in codec.encode("İstanbul GÜZEL")


def test_a_strange_character_is_named_or_unknown() -> None:
    with pytest.raises(DataError, match="character 'q' is not in the vocabulary"):
        tokenizers.fit_tokenizer("characters", POEM, unknown=False).encode("the quiz")
    assert tokenizers.fit_tokenizer("characters", POEM).encode("q") == [0]


@pytest.mark.parametrize("limit", [None, 100])
def test_byte_pairs_need_room_for_the_bytes(limit: int | None) -> None:
    with pytest.raises(DataError, match=f"{limit} given; bytepair needs at least 256"):
        tokenizers.fit_tokenizer("bytepair", POEM, limit=limit)


def test_byte_pair_encoding_without_its_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"pip install 'train-zoo\[text\]'"):
        tokenizers.fit_tokenizer("bytepair", POEM, limit=300)


@pytest.mark.parametrize("kind", ["characters", "words", "bytepair"])
def test_small_and_large_letters_can_be_the_same(kind: str) -> None:
    codec = tokenizers.fit_tokenizer(kind, POEM * 3, limit=300, lowercase=True)  # type: ignore[arg-type]
    assert codec.encode("THE Cat") == codec.encode("the cat")
    assert codec.decode(codec.encode("THE Cat")) == "the cat"
    assert codec.decode_words(codec.encode("The DOG")) == ["the", "dog"]
    assert codec.vocab_size < tokenizers.fit_tokenizer(kind, POEM * 3, limit=300).vocab_size or kind == "bytepair"  # type: ignore[arg-type]


def test_texts_of_which_no_word_is_known_are_refused() -> None:
    once = [f"x{number}" for number in range(36)]
    with pytest.raises(DataError, match=r"^min_count: none of the 36 words of the training texts occurs 2 times"):
        tokenizers.fit_tokenizer("words", once, min_count=2)
    assert tokenizers.fit_tokenizer("words", once, min_count=1).vocab_size == 37
