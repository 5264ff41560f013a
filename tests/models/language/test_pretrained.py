"""Pretrained transformer of a local directory: weights, tokenizer, new head."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import saved_model
from tests.helpers.lab import lab
from trainer.config import compose
from trainer.data.encoding import tokenizers
from trainer.models.language.pretrained import Pretrained
from trainer.utils import hf_hub
from trainer.utils.errors import ConfigError, DataError, SystemFault


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model.save(tmp_path_factory.mktemp("saved"))


def make(model_dir: Path, **changes: object) -> Pretrained:
    options = {"vocab_size": 12, "out_features": 3, "pool": "first", "dropout": 0.0} | changes
    return Pretrained(str(model_dir), **options).eval()  # type: ignore[arg-type]


@pytest.mark.slow
def test_weights_equal_saved_weights(model_dir: Path) -> None:
    from safetensors.torch import load_file

    saved = load_file(model_dir / "model.safetensors")
    loaded = make(model_dir).body.state_dict()
    assert set(saved) <= set(loaded)
    assert all(torch.equal(loaded[name], value) for name, value in saved.items())


@pytest.mark.parametrize("pool", ["first", "mean"])
def test_padding_is_ignored(model_dir: Path, pool: str) -> None:
    model = make(model_dir, pool=pool)
    x, lengths = torch.randint(4, 12, (3, 9)), torch.tensor([9, 4, 2])
    other = torch.where(torch.arange(9) < lengths[:, None], x, torch.randint(4, 12, (3, 9)))
    assert not torch.equal(x, other)
    torch.testing.assert_close(model(x, lengths), model(other, lengths))
    torch.testing.assert_close(model(x, lengths)[2:], model(x[2:, :2]))
    assert not torch.allclose(model(x), model(other), atol=1e-4)


def test_pretrained_tokenizer_encodes_and_decodes(model_dir: Path) -> None:
    tokenizer = tokenizers.fit_tokenizer("pretrained", [], tokenizer=str(model_dir))
    assert tokenizer.vocab_size == 12
    assert tokenizer.encode("the film was splendid") == [2, 10, 8, 11, 1, 3]
    assert tokenizer.decode([2, 10, 8, 3]) == "the film"
    assert tokenizer.decode_words([2, 10, 8, 3]) == ["the", "film"]


def test_truncation_keeps_special_tokens(model_dir: Path) -> None:
    ends = {"first": [2, 10, 8, 3], "last": [2, 11, 4, 3]}
    for keep, expected in ends.items():
        tokenizer = tokenizers.fit_tokenizer("pretrained", [], tokenizer=str(model_dir), max_length=4, keep=keep)  # type: ignore[arg-type]
        assert tokenizer.encode("the film was good") == expected
        state = tokenizer.state_dict()
        former_state = {"most" if key == "max_length" else key: value for key, value in state.items()}
        for saved in (state, former_state):
            assert tokenizers.tokenizer_from_state(saved).encode("the film was good") == expected


def test_mismatched_options_raise(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^name: .* has 12 tokens and the data has 50; set data\.tokens=pretrained"):
        make(model_dir, vocab_size=50)
    with pytest.raises(ValueError, match=r"a row has 20 tokens and the model allows 16; set data\.max_length=16"):
        make(model_dir)(torch.zeros(1, 20, dtype=torch.long))
    with pytest.raises(ConfigError, match=f"{tmp_path}/nope does not exist; the nearest directory"):
        make(tmp_path / "nope")
    with pytest.raises(ConfigError, match=r"contains no config\.json"):
        make(tmp_path)
    with pytest.raises(DataError, match="tokens=pretrained needs the name"):
        tokenizers.fit_tokenizer("pretrained", [])


def test_broken_model_directory_error_is_one_line(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((model_dir / "config.json").read_text())
    with pytest.raises(ConfigError, match=r"^model\.name: .* cannot be read: [^\n]*$"):
        make(tmp_path)
    with pytest.raises(DataError, match=r"^tokenizer: .* has no tokenizer: [^\n]*$"):
        tokenizers.fit_tokenizer("pretrained", [], tokenizer=str(tmp_path))


def test_pickled_weights_are_not_loaded(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((model_dir / "config.json").read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="cannot be read"):
        make(tmp_path)


def test_missing_package_error_names_install_command(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'train-zoo\[pretrained\]'"):
        make(model_dir)


def test_missing_network_error_names_download(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(huggingface_hub, "model_info", unreachable)
    with pytest.raises(SystemFault, match=r"no route.* download some-model on a machine.*, and set model\.name"):
        hf_hub.find_model_dir("some-model")


def write_reviews(directory: Path) -> Path:
    """Write sixty short reviews whose class follows from one word."""
    for number in range(60):
        label, words = (("praise", ("good", "fine")), ("blame", ("bad", "poor")))[number % 2]
        path = directory / label / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        opening = ["the", ("film", "plot")[number // 2 % 2], "was"] * (1 + number % 3)
        path.write_text(" ".join([*opening, words[number // 4 % 2]]))
    return directory


@pytest.mark.slow
def test_fine_tuning_learns_from_text_directory(model_dir: Path, tmp_path: Path) -> None:
    data = ["data=text_folder", f"data.path={write_reviews(tmp_path)}", f"data.max_length={saved_model.LONGEST}"]
    run = lab("model=pretrained", f"model.name={model_dir}", *data, "epochs=15", "optimizer.lr=1e-3", "batch_size=8")
    assert isinstance(run.task.model, Pretrained)
    before = run.task.model.body.embeddings.word_embeddings.weight.detach().clone()
    assert run.test()["accuracy"] > 0.9
    assert not torch.equal(run.task.model.body.embeddings.word_embeddings.weight, before)


def test_missing_model_name_raises() -> None:
    with pytest.raises(ConfigError, match=r"model\.name: needs a value"):
        compose.compose(["model=pretrained", "data=text_folder", "data.path=x"])
