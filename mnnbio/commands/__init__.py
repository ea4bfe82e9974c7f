"""Commands of `mnnbio` that have a file of their own; each has a function `add` that adds it to the parser."""
