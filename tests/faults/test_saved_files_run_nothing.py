"""Code in saved models and checkpoints is not executed, and no confirmation is asked for."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import hostile
from tests.helpers.commands import write
from tests.helpers.hostile import marker_fixture  # noqa: F401
from trainer.config import compose
from trainer.engine import checkpoint
from trainer.runs import train
from trainer.utils import hf_hub
from trainer.utils.errors import ConfigError

# Saved models.

MODEL_CLASS = "evil.Net"
SAVED: dict[str, dict[str, dict[str, Any]]] = {
    "model": {"config.json": {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Conf", "AutoModel": MODEL_CLASS}}},
    "known architecture": {
        "config.json": {"model_type": "bert", "auto_map": {"AutoConfig": "evil.Conf", "AutoModel": MODEL_CLASS}}
    },
    "only the model": {"config.json": {"model_type": "bert", "auto_map": {"AutoModel": MODEL_CLASS}}},
    "no type": {"config.json": {"auto_map": {"AutoConfig": "evil.Conf"}}},
    "another repository": {"config.json": {"model_type": "evil", "auto_map": {"AutoModel": "someone/repo--evil.Net"}}},
    "tokenizer": {"tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["evil.Tok", None]}}, "tokenizer.json": {}},
    "tokenizer class": {
        "config.json": {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Conf"}},
        "tokenizer_config.json": {
            "tokenizer_class": "EvilTokenizer",
            "auto_map": {"AutoTokenizer": ["evil.Tok", None]},
        },
        "tokenizer.json": {},
    },
    "kernel": {"config.json": {"model_type": "bert", "attn_implementation": "someone/kernel"}},
    "nested kernel": {"config.json": {"model_type": "clip", "text_config": {"_attn_implementation": "someone/kernel"}}},
}


@pytest.mark.parametrize("kind", ["AutoModel", "AutoTokenizer", "AutoConfig"])
@pytest.mark.parametrize("name", SAVED)
def test_saved_model_code_is_not_executed(name: str, kind: str, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise AssertionError("input() was called")

    monkeypatch.setattr(builtins, "input", fail)
    files = {file: json.dumps(content) for file, content in SAVED[name].items()}
    folder = write(marker.parent / "saved", {"config.json": "{}", **files, "evil.py": hostile.EVIL})
    message = ""
    try:
        hf_hub.load_pretrained(kind, folder, "model.name")
    except ConfigError as error:
        message = str(error)
    assert "trust_remote_code" not in message
    assert "\n" not in message
    assert not [module for module in sys.modules if module.startswith("transformers_modules.saved")]


def test_saved_model_code_is_executed_with_trust_remote_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoConfig, dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "cache"))
    text = f"from pathlib import Path\nPath({str(tmp_path / hostile.MARKER)!r}).touch()\n"
    text += "from transformers import PretrainedConfig\nclass Conf(PretrainedConfig):\n    model_type = 'evil'\n"
    files = {name: json.dumps(content) for name, content in SAVED["model"].items()}
    AutoConfig.from_pretrained(write(tmp_path / "trusted", {**files, "evil.py": text}), trust_remote_code=True)
    assert (tmp_path / hostile.MARKER).exists()


# Checkpoints.


class Payload:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def payloads(marker: Path) -> dict[str, Payload]:
    return {
        "system": Payload(os.system, f"touch {marker}"),
        "exec": Payload(exec, f"open({str(marker)!r}, 'w')"),
        "open": Payload(open, str(marker), "w"),
        "touch": Payload(Path.touch, marker),
        "popen": Payload(subprocess.Popen, ["touch", str(marker)]),
        "load": Payload(torch.load, str(marker.with_name("inner.pt")), None),
    }


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("name", payloads(Path("m")))
def test_code_in_a_checkpoint_is_refused(
    name: str, form: str, forced: bool, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    state = {"task": {"w": torch.zeros(2)}, "more": payloads(marker)[name]}
    path = marker.with_name("best.pt")
    if form == "pickle":
        path.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ConfigError) as caught:
        checkpoint.load_checkpoint(path)
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)
    if form == "zip":
        assert "contains code" in str(caught.value)


def test_code_in_a_checkpoint_is_executed_by_torch_load(tmp_path: Path) -> None:
    marker = tmp_path / hostile.MARKER
    torch.save({"more": payloads(marker)["open"]}, tmp_path / "best.pt")
    torch.load(tmp_path / "best.pt", weights_only=False)["more"].close()
    assert marker.exists()


# Sources of initial weights.


@pytest.mark.parametrize("form", ["checkpoint", "configuration", "safetensors", "hub"])
def test_a_hostile_source_of_weights_runs_nothing(form: str, marker: Path) -> None:
    words = ["model=mlp", "data=moons", "data.rows=60", "epochs=1", "threads=1", "draw=false", "hydra.run.dir=source"]
    source = Path(train.run(compose.compose(words)).run_dir)
    best, name = source / checkpoint.BEST, str(source)
    if form == "checkpoint":
        torch.save({"task": {"w": torch.zeros(2)}, "more": payloads(marker)["open"]}, best)
    elif form == "configuration":  # in both places, so that they agree
        state = torch.load(best, weights_only=True)
        state["run_metadata"]["config"] |= {"plugins": ["evil"], "data": {"_target_": "evil.Foo"}}
        torch.save(state, best)
        text = (source / "config.yaml").read_text().replace("plugins: []", "plugins: [evil]")
        start, end = text.index("data:\n"), text.index("model:\n")
        (source / "config.yaml").write_text(f"{text[:start]}data:\n  _target_: evil.Foo\n{text[end:]}")
    else:
        write(
            marker.parent / "hub", {"config.json": json.dumps(SAVED["model"]["config.json"]), "evil.py": hostile.EVIL}
        )
        name = "hub" if form == "hub" else "hub/model.safetensors"
        Path("hub/model.safetensors").write_bytes(pickle.dumps(payloads(marker)["open"]))
    message = ""
    try:
        train.run(compose.compose(["model=mlp", "data=moons", "data.rows=60", "epochs=0", f"init_from={name}"]))
    except ConfigError as error:
        message = str(error)
    assert bool(message) == (form != "configuration")
    assert not message or message.startswith("init_from: ")
