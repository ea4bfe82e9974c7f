import os

from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")

# The same examples every time: what fails here fails everywhere. A loaded machine is no reason to fail.
settings.register_profile("mnnbio", derandomize=True, deadline=None)
settings.load_profile("mnnbio")
