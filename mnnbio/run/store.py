"""The result file of a run: which part is where, and which part came from what.

Every part carries the fingerprint of what it depends on (`key` among its attributes). A part and its key are written in
one go, so a file on disk is never out of step with itself.

====================  ================================================================================
root, `/simulation`,  the statistics: few samples at length; their prediction and comparison
`/spikes`, ...
`/decisions`          the decisions: many samples in a short window; groups as at the root
`/training`           curves over epochs, and the scores on the test data
====================  ================================================================================
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import xarray as xr

from mnnbio.results import load, save

KEY = "key"
STATISTICS, DECISIONS, TRAINING = "statistics", "decisions", "training"


class Store:
    """The result file of a run folder, read once.

    Parameters
    ----------
    path : Path
        The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def parts(self) -> dict[str, xr.DataTree]:
        """The parts that the file holds.

        Raises
        ------
        ResultFileError
            If the file is damaged or of another kind.
        """
        if not self.path.exists():
            return {}
        tree = load(self.path)
        parts = {name: tree.children[name].copy() for name in (DECISIONS, TRAINING) if name in tree.children}
        if "simulation" in tree.children:
            parts[STATISTICS] = tree.drop_nodes(list(parts))
        return parts

    @property
    def tree(self) -> xr.DataTree:
        """All parts, as the file holds them."""
        groups: dict[str, xr.Dataset] = {}
        for name, part in self.parts.items():
            root = "" if name == STATISTICS else f"/{name}"
            for node in part.subtree:
                groups[root + node.path.removesuffix("/") or "/"] = node.to_dataset(inherit=False)
        return xr.DataTree.from_dict(groups)

    def put(self, name: str, part: xr.DataTree) -> None:
        """Write the file with a part in place of what was there under its name."""
        self.parts[name] = part
        try:
            save(self.tree, self.path)
        except BaseException:
            del self.parts  # read again what the file still holds
            raise


def key_of(tree: xr.DataTree | xr.Dataset | None) -> str | None:
    """Return the fingerprint of what a part was made from."""
    return None if tree is None else tree.attrs.get(KEY)
