"""Train moment neural networks, run them as spiking networks in generated C++, and compare the two."""

from typing import Any

import lazy_loader

# Public names stand in `__init__.pyi` alone. Their modules are imported at first use: torch and Brian2 take seconds.
_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """Import a public name at first use; the version is that of the installed distribution."""
    if name == "__version__":
        from importlib.metadata import version

        return version("mnnbio")
    return _public(name)
