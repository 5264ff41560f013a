"""Language task: scores of the next token, and generated text."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from torch import Tensor, nn

from trainer.core import decoding
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.data.encoding import tokenizers
from trainer.tasks.language import Language
from trainer.utils.errors import ConfigError, DataError

V, S = 5, 4


class Bigram(nn.Module):
    """Model whose logits of the next token are a row of a table."""

    def __init__(self, table: Tensor):
        super().__init__()
        self.table = nn.Parameter(table)

    def decode(
        self, tokens: Tensor, memory: decoding.DecoderState = (), state: decoding.DecoderState | None = None
    ) -> tuple[Tensor, decoding.DecoderState]:
        return self.table[tokens], ()

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(x)[0]


def make_task(table: Tensor | None = None) -> Language:
    torch.manual_seed(0)
    task = Language(Bigram(torch.randn(V, V) if table is None else table), V, S)
    task.tokenizer = tokenizers.fit_tokenizer("characters", ["abcde"], unknown=False)
    return task


def make_batch(target: Tensor) -> Batch:
    return Batch({"x": torch.arange(target.numel()).view_as(target) % V}, target, torch.arange(len(target)))


TARGET = torch.tensor([[0, 1, 2, 3], [4, 0, IGNORE_INDEX, IGNORE_INDEX]])


def test_scores_average_over_counted_tokens() -> None:
    task, batch = make_task(), make_batch(TARGET)
    log_probs = task.forward_batch(batch).detach().log_softmax(-1)
    mask = TARGET != IGNORE_INDEX
    nll = -log_probs.gather(-1, TARGET.clamp(min=0)[..., None]).squeeze(-1)[mask].mean()
    torch.testing.assert_close(task.loss(batch, "model"), nll)
    with torch.no_grad():
        sums = task.score(batch)
    scores = task.metrics(sums)  # type: ignore[arg-type]
    accuracy = (log_probs.argmax(-1) == TARGET)[mask].double().mean()
    expected = {"nll": nll, "bits": nll / math.log(2), "perplexity": nll.exp(), "token_accuracy": accuracy}
    assert scores == pytest.approx({name: float(value) for name, value in expected.items()})
    assert int(task.num_loss_terms(batch)) == 6


def test_a_batch_without_counted_tokens_has_zero_loss_and_gradient() -> None:
    task = make_task()
    loss = task.loss(make_batch(torch.full((2, 4), IGNORE_INDEX)), "model")
    loss.backward()
    assert loss == 0
    assert all(value.grad is not None and not value.grad.any() for value in task.parameters())


def test_invalid_logits_and_targets_raise() -> None:
    with pytest.raises(ConfigError, match=r"logits \(2, 4, 7\) do not fit targets \(2, 4\): .* \(B, T, 5\)"):
        make_task(torch.zeros(V, 7)).loss(make_batch(TARGET), "model")
    with pytest.raises(ConfigError, match=r"test target tokens must be 0\.\.4; found 9 at row 0, step 1"):
        make_task().validate_targets(torch.tensor([[0, 9]]), "test")


def test_text_continues_the_prompt() -> None:
    task = make_task(20 * torch.eye(V).roll(1, 1))  # the alphabet, round and round
    pieces = list(task.sample("cd", length=9, temperature=0.0))
    assert pieces[0] == "cd"
    assert "".join(pieces) == "cdeabcdeabc"
    assert len(pieces) == 10
    samples = ["".join(task.sample("a", length=30, temperature=8.0, seed=seed)) for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]


def test_unknown_or_empty_prompt_raises() -> None:
    with pytest.raises(DataError, match="'z' is not in the vocabulary of 5"):
        list(make_task().sample("z"))
    with pytest.raises(ConfigError, match="contains no tokens"):
        list(make_task().sample(""))
    task = make_task()
    task.tokenizer = None
    with pytest.raises(ConfigError, match="has no text"):
        list(task.sample("a"))


def test_unknown_token_is_never_generated(caplog: pytest.LogCaptureFixture) -> None:
    task = make_task(20 * torch.eye(V).roll(1, 1))
    task.tokenizer = tokenizers.CharacterTokenizer(["bcde"], unknown=True)
    with caplog.at_level(logging.WARNING, logger="trainer"):
        text = "".join(task.sample("ez", length=6, temperature=0.0))
    assert text.startswith("ez")
    assert tokenizers.UNKNOWN_TOKEN not in text
    assert "prompt: 1 of its 2 tokens are not in the training text" in caplog.text
