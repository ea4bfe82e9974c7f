"""Train moment neural networks, run them as spiking networks in generated C++, and compare the two."""

import lazy_loader

# Public names stand in `__init__.pyi` alone. Their modules are imported at first use: torch and Brian2 take seconds.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
