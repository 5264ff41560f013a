"""Word splitting in scripts with spaces, scripts without spaces, and emoji."""

from __future__ import annotations

import re
import unicodedata

import pytest

from trainer.data.encoding import word_splitting

SENTENCES = {
    "Hindi": ("वे नदी देखते हैं।", ["वे", "नदी", "देखते", "हैं", "।"]),
    "Arabic with vowels": ("مُحَمَّدٌ يَكْتُبُ، نَعَمْ", ["مُحَمَّدٌ", "يَكْتُبُ", "،", "نَعَمْ"]),
    "Hebrew with points": ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם", "עוֹלָם"]),
    "Tamil": ("நான் தமிழ் பேசுகிறேன்.", ["நான்", "தமிழ்", "பேசுகிறேன்", "."]),
    "Persian": ("می\u200cخواهم بروم", ["می\u200cخواهم", "بروم"]),
    "French, in parts": ("l'e\u0301te\u0301 a\u0300 Paris!", ["l'e\u0301te\u0301", "a\u0300", "Paris", "!"]),
    "English": ("Don't (stop), it’s so_so!", ["Don't", "(", "stop", ")", ",", "it’s", "so_so", "!"]),
    "Korean": ("한국어 문장", ["한국어", "문장"]),
    "Chinese": ("我喜欢ABC，好。", ["我", "喜", "欢", "ABC", "，", "好", "。"]),
    "Japanese": ("カフェで待つ。", ["カ", "フ", "ェ", "で", "待", "つ", "。"]),
    "Bengali": ("আমি বাংলা পড়ি।", ["আমি", "বাংলা", "পড়ি", "।"]),
    "Hindi with joiners": ("क्\u200dष ज्\u200dञ", ["क्\u200dष", "ज्\u200dञ"]),
    "Vietnamese, in parts": (
        unicodedata.normalize("NFD", "đường phố Việt"),
        unicodedata.normalize("NFD", "đường phố Việt").split(),
    ),
    "emoji": (
        "été 👩\u200d👩\u200d👧 🇩🇪 👍🏽 ☕\ufe0f 1\ufe0f\u20e3",
        ["été", "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽", "☕\ufe0f", "1\ufe0f\u20e3"],
    ),
    "emoji without blanks": ("👍🏽👍🇫🇷🇩🇪!", ["👍🏽", "👍", "🇫🇷", "🇩🇪", "!"]),
    "Thai": ("น้ำส้ม", ["น้", "ำ", "ส้", "ม"]),
    "Khmer": ("ខ្ញុំ", ["ខ្", "ញុំ"]),
}


@pytest.mark.parametrize("language", SENTENCES)
def test_split_and_join_words_by_language(language: str) -> None:
    text, expected = SENTENCES[language]
    assert word_splitting.split_words(text) == expected
    joined_text = word_splitting.join_words(expected)
    assert word_splitting.split_words(joined_text) == expected
    if language not in ("Chinese", "English", "emoji without blanks"):
        assert joined_text == text
    assert word_splitting.split_words(word_splitting.normalize_unicode(text)) == [
        word_splitting.normalize_unicode(word) for word in expected
    ]


def test_join_words_places_spaces() -> None:
    assert word_splitting.join_words(word_splitting.split_words("我喜欢苹果，好 。ok")) == "我喜欢苹果，好。ok"
    assert word_splitting.join_words(["a", "(", "b", ")", ",", "c", "!"]) == "a (b), c!"


def test_split_words_of_plain_text_matches_regex() -> None:
    text = "It's 3.5 %, isn't it? (x_1) -- 'quoted' word's\tend"
    expected = re.findall(r"\w+(?:'\w+)*|[^\w\s]", text)
    assert word_splitting.split_words(text) == expected
    assert word_splitting.split_words(f"{text} ß") == [*expected, "ß"]


def test_split_words_loses_only_whitespace() -> None:
    text = "".join(chr(code) for code in range(0x21, 0x11000) if unicodedata.category(chr(code)) not in ("Cn", "Cs"))
    assert "".join(word_splitting.split_words(text)) == "".join(text.split())


def test_lowercase_of_dotted_capital_has_one_dot() -> None:
    assert word_splitting.to_lowercase("İSTANBUL Ǆ") == "istanbul ǆ"
