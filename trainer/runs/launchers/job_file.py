"""File with the configuration of a job, for a process that is no fork of the sweep, maybe on another machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainer.config import migrations, secret_masking, yaml_limits
from trainer.config.run_config import Config
from trainer.config.schema import Settings
from trainer.config.validation import check_config, declare_config_plugins
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError

JOB_FILE = ".job.json"
SWEEP_SETTINGS = ("threads", "resume")
"""Global keys that the sweep sets for a job."""


def check_secrets(configs: Sequence[Config]) -> None:
    """Check that configurations can be written to files.

    Args:
        configs: Configuration of each job.

    Raises:
        ConfigError: One contains a secret.
    """
    masked = (secret_masking.find_masked_keys(secret_masking.mask_tree(config.raw)) for config in configs)
    problems = [
        f"{key}: the launcher would save this secret to a file; use ${{oc.env:NAME}} instead"
        for keys in masked
        for key in keys
    ]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))


def write_job_file(config: Config, job_dir: Path) -> None:
    """Write the configuration of a job, with references to environment variables instead of their values.

    Args:
        config: Its configuration.
        job_dir: Directory of the job.

    Raises:
        SystemFault: The file cannot be written.
    """
    values = {
        migrations.KEY: migrations.FORMAT_VERSION,
        "config": config.raw,
        "names": dict(config.names),
        "overrides": list(config.overrides),
        "run_dir": config.run_dir,
        "sweep_dir": config.sweep_dir,
        "working_dir": config.working_dir,
        "pause_step": config.pause_step,
        "config_dirs": list(config.config_dirs),
        "settings": {key: value for key, value in vars(config.settings).items() if key in SWEEP_SETTINGS},
    }
    with atomic_write.catch_write_errors(job_dir):
        job_dir.mkdir(parents=True, exist_ok=True)
    atomic_write.write_text(job_dir / JOB_FILE, json.dumps(values))


def read_job_file(job_dir: Path) -> Config:
    """Read and check the configuration of a job.

    Args:
        job_dir: Directory of the job.

    Raises:
        ConfigError: The file cannot be read, or the configuration is invalid here: the version of this program or an
            environment variable differs from those of the sweep.
    """
    file = job_dir / JOB_FILE
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version, raw = values[migrations.KEY], values["config"]
        yaml_limits.check_interpolations(raw)
        tree: Any = OmegaConf.to_container(OmegaConf.create(raw), resolve=True)
        settings = Settings(**({key: tree[key] for key in Settings.__dataclass_fields__} | values["settings"]))
    except (OSError, ValueError, KeyError, TypeError, OmegaConfBaseException) as error:
        raise ConfigError(f"{file}: cannot be read: {' '.join(str(error).split())[:300]}") from error
    if version != migrations.FORMAT_VERSION:
        raise ConfigError(f"{file}: the sweep was started by another version of train")
    problems = declare_config_plugins(tree) or check_config(tree, values["names"])
    if problems:
        raise ConfigError(*problems)
    keys = ("names", "overrides", "run_dir", "sweep_dir", "working_dir", "pause_step", "config_dirs")
    return replace(Config(tree, raw, settings=settings, **{key: values[key] for key in keys}))
