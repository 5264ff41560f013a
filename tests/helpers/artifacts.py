"""Artifacts of a task."""

from __future__ import annotations

from collections.abc import Iterable

from trainer.core.artifacts import Artifact, LazyArtifact


def make_artifacts(items: Iterable[Artifact | LazyArtifact]) -> dict[str, Artifact]:
    """Return the artifacts by name, lazy ones made."""
    each = (item.make_artifact() if isinstance(item, LazyArtifact) else item for item in items)
    return {item.name: item for item in each if item is not None}
