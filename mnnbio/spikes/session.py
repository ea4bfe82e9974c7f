"""Sessions with Brian2's global state, device and preferences, which nothing else touches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from mnnbio.machine import import_brian

Codegen = Literal["cpp_standalone", "runtime"]

_PREFERENCES: dict[str, Any] = {
    "codegen.target": "numpy",
    # By default Ctrl-C has a run end early, as if it were complete.
    "core.stop_on_keyboard_interrupt": False,
    "devices.cpp_standalone.openmp_threads": 0,  # processes are faster, and the order of sums stays fixed
}
# Nothing but the compiler's own folders, and no options of the user's: the project shall build on another machine as
# well, and a compiled program depends on its circuit, the versions and the compiler alone.
_CPP_PREFERENCES: dict[str, Any] = {
    "codegen.cpp.define_macros": [],
    "codegen.cpp.extra_compile_args": None,
    "codegen.cpp.extra_link_args": [],
    "codegen.cpp.headers": [],
    "codegen.cpp.include_dirs": [],
    "codegen.cpp.libraries": [],
    "codegen.cpp.library_dirs": [],
    "codegen.cpp.runtime_library_dirs": [],
}
_lock = threading.Lock()
_patient: ContextVar[bool] = ContextVar("patient", default=False)


class BrianBusyError(RuntimeError):
    """Brian2's global state is in use."""


@contextmanager
def patience() -> Iterator[None]:
    """Let sessions of this thread wait for those of other threads to end, instead of failing.

    For threads that work off independent tasks, as those of a Dask worker do. A session within a session of the same
    thread would wait for ever.
    """
    token = _patient.set(True)
    try:
        yield
    finally:
        _patient.reset(token)


@contextmanager
def brian_session(codegen: str) -> Iterator[None]:
    """Set Brian2's device and preferences, and set them back whatever happens.

    Parameters
    ----------
    codegen : str
        A `Codegen`, or another device whose package has been imported.

    Raises
    ------
    BrianBusyError
        If another session is open in this process, or a script has set a device of its own.
    """
    import numpy as np

    import_brian()
    from brian2 import Network, get_device, prefs, set_device
    from brian2.devices.device import RuntimeDevice, reset_device

    if not _lock.acquire(blocking=_patient.get()):
        raise BrianBusyError(
            "Brian2 has one device per process and another `build` or `simulate` is using it. Finish that first, or "
            "use another process"
        )
    try:
        if not isinstance(get_device(), RuntimeDevice):
            raise BrianBusyError(
                f"Brian2's device is set to {type(get_device()).__name__} by your script. Call brian2.reset_device() "
                "before `build` or `simulate`"
            )
        wanted = _PREFERENCES | {"core.default_float_dtype": np.float64}
        if codegen == "cpp_standalone":
            wanted |= _CPP_PREFERENCES
        before = {name: prefs[name] for name in wanted}
        try:
            for name, value in wanted.items():
                prefs[name] = value
            if codegen != "runtime":
                set_device(codegen, build_on_run=False)
            try:
                yield
            finally:
                Network._globally_running = False  # Brian2 leaves it set where a run ends by an exception
                if codegen != "runtime":
                    get_device().reinit()
                    reset_device()
        finally:
            for name, value in before.items():
                prefs[name] = value
    finally:
        _lock.release()
