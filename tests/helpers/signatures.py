"""Parameters of signatures that were read from source."""

from __future__ import annotations

from trainer.config.introspection import Signature


def get_required_parameters(signature: Signature, method: str = "__init__") -> set[str]:
    """Return the names of a method's parameters that have no default."""
    parameters = signature.parameters_by_method.get(method, {})
    return {name for name, parameter in parameters.items() if parameter.default is None}
