import atexit
import os
import shutil
import signal
import tempfile
import threading
from collections import Counter

import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
# The arrays of tests are small, and workers share the cores: a second thread costs more than it brings.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples every time: what fails here fails everywhere. A loaded machine is no reason to fail.
settings.register_profile("mnnbio", derandomize=True, deadline=None)
settings.load_profile("mnnbio")

# One cache of compiled programs for all workers of a test run, and never the user's.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["MNNBIO_CACHE_DIR"] = tempfile.mkdtemp(prefix="mnnbio-tests-")
    atexit.register(shutil.rmtree, os.environ["MNNBIO_CACHE_DIR"], ignore_errors=True)

# Background jobs ignore Ctrl-C, and so would the programs that tests start in order to interrupt them.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let workers start with the files that take longest, so that none is left with a long one when others are done."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        number = Counter(item.path for item in items)
        slow = Counter(
            item.path for item in items if {"slow", "standalone"} & {mark.name for mark in item.iter_markers()}
        )
        items.sort(key=lambda item: (-slow[item.path], -number[item.path], item.path))
