"""The command `mnnbio circuit`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from mnnbio.run.arguments import Parser

DESCRIPTION = """\
Predict and simulate a ready-made circuit, compare, and report.

  mnnbio circuit                                            what there is
  mnnbio circuit brunel --help                              the options of one
  mnnbio circuit brunel --g 5 --nu 2 --out runs/brunel
  mnnbio circuit brunel --scale 0.1 --out runs/small        a tenth of the neurons, inputs alike

The run folder gets result.nc, report.html, figures/, log.txt and config.yaml. Times are in ms, potentials in mV."""

_NAME = "circuit_name"


def add(command: Callable[..., Parser]) -> None:
    """Add the command to the parser; the circuits, which take a while to load, only when it is used."""
    one = command("circuit", _circuit, "predict and simulate a ready-made circuit, and report", DESCRIPTION)
    one.prepare = _add_circuits


def _add_circuits(parser: Parser) -> None:
    import mnnbio.circuits
    from mnnbio.run.builders import add_builder_options, builders, description, summary

    parts = parser.add_subparsers(dest=_NAME, metavar="NAME", title="circuits")
    for name, function in builders(mnnbio.circuits).items():
        own: Parser = parts.add_parser(name, help=summary(function), description=description(function))
        own.set_defaults(parser=own, builder=function)
        own.add_argument("--debug", action="store_true", help="show the traceback of an error")
        own.add_argument("--out", metavar="RUN", type=Path, required=True, help="the run folder")
        own.add_argument("--no-progress", action="store_true", help="no progress bars")
        _add_settings(own)
        add_builder_options(own, function)


def _add_settings(parser: Parser) -> None:
    from mnnbio.run.circuit import FEW_NEURONS, Settings

    group = parser.add_argument_group("simulation")
    defaults = {field.name: field.default for field in fields(Settings)}

    def option(name: str, read: Callable[[str], Any], text: str, metavar: str = "MS") -> None:
        default = defaults[name]
        group.add_argument(
            f"--{name}", type=read, default=default, metavar=metavar, help=f"{text} (default: {default:g})"
        )

    option("duration", _positive, "time recorded in a trial")
    option("trials", _whole, "trials", "N")
    option("warmup", _not_negative, "time simulated before the recording starts")
    option("dt", _positive, "time step")
    option("window", _positive, "counting window of variances and covariances")
    group.add_argument(
        "--codegen",
        choices=["cpp_standalone", "runtime"],
        default=defaults["codegen"],
        help="generated C++ (needs a compiler), or NumPy, slow (default: cpp_standalone)",
    )
    group.add_argument(
        "--covariance",
        action=argparse.BooleanOptionalAction,
        default=None,
        help=f"covariances of all pairs of neurons (default: up to {FEW_NEURONS} neurons)",
    )


def _circuit(arguments: argparse.Namespace) -> None:
    """Run a circuit, or say which there are."""
    if getattr(arguments, _NAME) is None:
        arguments.parser.print_help()
        return
    from mnnbio.brian import require_compiler
    from mnnbio.run.builders import builder_arguments
    from mnnbio.run.circuit import CircuitRun, Settings, summary
    from mnnbio.run.folder import RunFolder

    options = builder_arguments(arguments)
    settings = Settings(
        **{field.name: getattr(arguments, field.name) for field in fields(Settings) if field.name != "seed"},
        seed=options.get("seed", 0),
    )
    if settings.codegen == "cpp_standalone":
        require_compiler()
    circuit = arguments.builder(**options)
    run = CircuitRun(
        getattr(arguments, _NAME), circuit, settings, RunFolder(arguments.out), options, _say, not arguments.no_progress
    )
    tree = run(f"mnnbio {' '.join(arguments.line)}")
    print(f"\n{summary(tree)}\n\n{run.folder.report}")


def _say(text: str) -> None:
    print(text, flush=True)


def _number(text: str, rule: str, *, least: float, strictly: bool) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and (value > least if strictly else value >= least)):
        raise argparse.ArgumentTypeError(f"must be a time {rule} ms, got {text!r}")
    return value


def _positive(text: str) -> float:
    return _number(text, "> 0", least=0.0, strictly=True)


def _not_negative(text: str) -> float:
    return _number(text, "≥ 0", least=0.0, strictly=False)


def _whole(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number ≥ 1, got {text!r}")
    return int(text)
