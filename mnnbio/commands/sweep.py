"""The command `mnnbio sweep`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from mnnbio.run.arguments import Parser

DESCRIPTION = """\
Simulate a circuit, and predict it if asked to, at many points of its parameters. Every point leaves a file; the next
use of the folder does what is missing or failed, and adds points where CONFIG names more values.

  mnnbio sweep brunel.yaml --out sweeps/brunel                          on every core of this machine
  mnnbio sweep brunel.yaml --out sweeps/brunel --scheduler tcp://10.0.0.1:8786

  circuit: brunel                   # of mnnbio.circuits; or package.module:function, file.py:function, file.json
  # run: runs/digits                  or the trained network of a run folder
  parameters: {scale: 0.1}          # of all points
  grid:                             # every combination
    g: [4, 5, 6]
    nu_ext_ratio: {start: 1, stop: 4, number: 7}
  trials: 4
  seed: 1
  simulation: {duration: 1000, warmup: 200, dt: 0.1, window: 100}
  predict: true

In Python, mnnbio.open_sweep("sweeps/brunel") opens the results as one labelled tree. docs/sweeps.md says more."""


class SweepFailed(RuntimeError):  # noqa: N818 - says what happened
    """Some points of a sweep failed."""


def add(command: Callable[..., Parser]) -> None:
    """Add the command to the parser."""
    one = command("sweep", _sweep, "simulate a circuit at many points of its parameters", DESCRIPTION)
    one.add_argument("config", metavar="CONFIG", type=Path, help="the YAML file that describes the sweep")
    one.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder of the results, new or of this sweep"
    )
    where = one.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler, or its scheduler file")
    where.add_argument("--workers", metavar="N", type=_number, help="processes of this machine (default: one per core)")
    one.add_argument("--no-progress", action="store_true", help="no progress bar")


def _sweep(arguments: argparse.Namespace) -> None:
    """Do what a sweep has still to do."""
    from mnnbio.sweep import run_sweep
    from mnnbio.sweep.cluster import remote_client

    with ExitStack() as stack:
        client = stack.enter_context(remote_client(arguments.scheduler)) if arguments.scheduler else None
        try:
            summary = run_sweep(
                arguments.config,
                arguments.out,
                client=client,
                workers=arguments.workers,
                progress=not arguments.no_progress,
                say=lambda text: print(text, flush=True),
            )
        except KeyboardInterrupt:
            again = f"mnnbio sweep {arguments.config} --out {arguments.out}"
            print(f"\nWhat is done is kept; continue with: {again}", file=sys.stderr)
            raise
    print(f"{summary.done} points done now, {summary.reused} before: {arguments.out}")
    if summary.failed:
        raise SweepFailed(
            f"{summary.failed} of {summary.done + summary.reused + summary.failed} points failed; "
            f"{arguments.out / 'manifest.json'} says why, and the same command tries them again"
        )


def _number(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number ≥ 1, got {text!r}")
    return int(text)
