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

import xarray as xr

from mnnbio.results import load, save
from mnnbio.run.folder import RunFolder

KEY = "key"
STATISTICS, DECISIONS, TRAINING = "statistics", "decisions", "training"


def stored_parts(folder: RunFolder) -> dict[str, xr.DataTree]:
    """Return the parts that the result file holds.

    Raises
    ------
    ResultFileError
        If the file is damaged or of another kind.
    """
    if not folder.result.exists():
        return {}
    tree = load(folder.result)
    parts = {name: tree.children[name].copy() for name in (DECISIONS, TRAINING) if name in tree.children}
    if "simulation" in tree.children:
        parts[STATISTICS] = tree.drop_nodes(list(parts))
    return parts


def store(folder: RunFolder, name: str, part: xr.DataTree) -> None:
    """Put a part into the result file, in place of what was there under its name."""
    groups: dict[str, xr.Dataset] = {}
    for other, tree in {**stored_parts(folder), name: part}.items():
        root = "" if other == STATISTICS else f"/{other}"
        for node in tree.subtree:
            groups[root + node.path.removesuffix("/") or "/"] = node.to_dataset(inherit=False)
    save(xr.DataTree.from_dict(groups), folder.result)


def key_of(tree: xr.DataTree | xr.Dataset | None) -> str | None:
    """Return the fingerprint of what a part was made from."""
    return None if tree is None else tree.attrs.get(KEY)
