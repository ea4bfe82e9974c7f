"""Commands beside those of a trained run: `mnnbio cache`, `circuit`, `sweep` and `completion`."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from mnnbio.workflow.arguments import Parser, path_argument, progress_wanted, whole_argument

if TYPE_CHECKING:
    from mnnbio.spikes import Entry

CACHE = """\
Compiled programs are kept, so that a circuit of known structure starts at once, with whatever weights and rates.

  mnnbio cache                             where they are, how large, and when each was last used
  mnnbio cache clear                       remove all
  mnnbio cache clear --older-than 30       remove those that have not been used for 30 days

They are in $MNNBIO_CACHE_DIR, else $XDG_CACHE_HOME/mnnbio, else ~/.cache/mnnbio, and take at most $MNNBIO_CACHE_SIZE
(such as 500MB; by default 1GB), beyond which the least recently used are removed."""

_DAY = 86_400.0  # s


def add_cache(command: Callable[..., Parser]) -> None:
    """Add the command to the parser."""
    one = command("cache", _cache, "show or clear the cache of compiled programs", CACHE)
    one.add_argument("action", nargs="?", choices=["show", "clear"], default="show", help="default: show")
    one.add_argument("--older-than", metavar="DAYS", type=_days, help="clear: only what was not used for so long")


def _cache(arguments: argparse.Namespace) -> None:
    """Show or clear the cache."""
    from mnnbio.spikes import ProgramCache

    if arguments.action == "show" and arguments.older_than is not None:
        raise ValueError("--older-than says what to clear: mnnbio cache clear --older-than DAYS")
    cache = ProgramCache.of_user()
    if arguments.action == "clear":
        gone = cache.clear((arguments.older_than or 0.0) * _DAY)
        print(f"removed {_total(gone)} from {cache.folder}")
        return
    entries = cache.entries()
    print(f"{cache.folder}: {_total(entries)} (at most {_size(cache.most_bytes)})")
    for entry in entries:
        used = _age(time.time() - entry.used)
        print(_fitting(f"  {entry.key[:8]}  {_size(entry.size):>8}  used {used:<12}  {entry.circuit}"))


def _fitting(line: str) -> str:
    """Return a line, cut to the width of the terminal."""
    width = shutil.get_terminal_size((120, 24)).columns
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not days >= 0:
        raise argparse.ArgumentTypeError(f"must be a number of days ≥ 0, got {text!r}")
    return days


def _total(entries: Sequence[Entry]) -> str:
    programs = "program" if len(entries) == 1 else "programs"
    return f"{len(entries)} {programs}, {_size(sum(entry.size for entry in entries))}"


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def _age(seconds: float) -> str:
    for unit, length in (("day", _DAY), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= length:
            number = int(seconds / length)
            return f"{number} {unit}{'s' * (number > 1)} ago"
    return "just now"


CIRCUIT = """\
Predict and simulate a ready-made circuit, compare, and report.

  mnnbio circuit                                            what there is
  mnnbio circuit brunel --help                              the options of one
  mnnbio circuit brunel --g 5 --nu 2 --out runs/brunel
  mnnbio circuit brunel --scale 0.1 --out runs/small        a tenth of the neurons, inputs alike

The run folder gets result.nc, report.html, figures/, log.txt and config.yaml. Times are in ms, potentials in mV."""

_NAME = "circuit_name"


def add_circuit(command: Callable[..., Parser]) -> None:
    """Add the command to the parser; the circuits, which take a while to load, only when it is used."""
    one = command("circuit", _circuit, "predict and simulate a ready-made circuit, and report", CIRCUIT)
    one.prepare = _add_circuits


def _add_circuits(parser: Parser) -> None:
    import mnnbio.circuits
    from mnnbio.workflow.arguments import add_builder_options, add_options, builders, description, summary
    from mnnbio.workflow.run_config import CircuitOptions

    parts = parser.add_subparsers(dest=_NAME, metavar="NAME", title="circuits")
    for name, function in builders(mnnbio.circuits).items():
        own: Parser = parts.add_parser(name, help=summary(function), description=description(function))
        own.set_defaults(parser=own, builder=function)
        own.add_argument("--debug", action="store_true", help="show the traceback of an error")
        own.add_argument("--out", metavar="RUN", type=path_argument, required=True, help="the run folder")
        own.add_argument("--no-progress", action="store_true", help="no progress bars")
        add_options(own, [CircuitOptions], without=["simulation.seed"])
        add_builder_options(own, function)


def _circuit(arguments: argparse.Namespace) -> None:
    """Run a circuit, or say which there are."""
    if getattr(arguments, _NAME) is None:
        arguments.parser.print_help()
        return
    from mnnbio.spikes import require_compiler
    from mnnbio.workflow.arguments import builder_arguments, layer_of
    from mnnbio.workflow.circuit_run import CircuitRun, summary
    from mnnbio.workflow.run_config import CircuitOptions
    from mnnbio.workflow.run_folder import RunFolder

    options = builder_arguments(arguments)
    given = layer_of(arguments).get(CircuitOptions.SECTION, {})
    settings = CircuitOptions(**given, seed=options.get("seed", 0))
    if settings.codegen == "cpp_standalone":
        require_compiler()
    circuit = arguments.builder(**options)
    name, folder = getattr(arguments, _NAME), RunFolder(arguments.out)
    run = CircuitRun(name, circuit, settings, folder, options, _say, progress_wanted(arguments))
    tree = run(f"mnnbio {' '.join(arguments.line)}")
    print(f"\n{summary(tree)}\n\n{run.folder.report}")


def _say(text: str) -> None:
    print(text, flush=True)


SWEEP = """\
Simulate a circuit, and predict it if asked to, at many points of its parameters. Every point leaves a file; the next
use of the folder does what is missing or failed, and adds points where CONFIG names more values.

  mnnbio sweep brunel.yaml --out sweeps/brunel                          on every core of this machine
  mnnbio sweep brunel.yaml --out sweeps/brunel --scheduler tcp://10.0.0.1:8786

  circuit: brunel                   # of mnnbio.circuits, or file.json; with --allow-code also
                                    # package.module:function and file.py:function, which are then run
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


def add_sweep(command: Callable[..., Parser]) -> None:
    """Add the command to the parser."""
    one = command("sweep", _sweep, "simulate a circuit at many points of its parameters", SWEEP)
    one.add_argument("config", metavar="CONFIG", type=path_argument, help="the YAML file that describes the sweep")
    one.add_argument(
        "--out", metavar="DIR", type=path_argument, required=True, help="folder of the results, new or of this sweep"
    )
    one.add_argument(
        "--allow-code", action="store_true", help="run functions of other modules and files that CONFIG names"
    )
    where = one.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler, or its scheduler file")
    where.add_argument(
        "--workers", metavar="N", type=whole_argument, help="processes of this machine (default: one per core)"
    )
    one.add_argument("--no-progress", action="store_true", help="no progress bar")


def _sweep(arguments: argparse.Namespace) -> None:
    """Do what a sweep has still to do."""
    from mnnbio.workflow.sweep_driver import remote_client, run_sweep

    with ExitStack() as stack:
        client = stack.enter_context(remote_client(arguments.scheduler)) if arguments.scheduler else None
        try:
            summary = run_sweep(
                arguments.config,
                arguments.out,
                client=client,
                workers=arguments.workers,
                allow_code=arguments.allow_code,
                progress=progress_wanted(arguments),
                say=lambda text: print(text, flush=True),
            )
        except KeyboardInterrupt:
            if (arguments.out / "manifest.json").is_file():
                code = " --allow-code" if arguments.allow_code else ""
                again = f"mnnbio sweep {arguments.config} --out {arguments.out}{code}"
                print(f"\nWhat is done is kept; continue with: {again}", file=sys.stderr)
            raise
    print(f"{summary.done} points done now, {summary.reused} before: {arguments.out}")
    if summary.remarked:
        print(f"{len(summary.remarked)} of them without all that was asked for; the same command tries that again")
    if summary.failed:
        raise SweepFailed(
            f"{summary.failed} of {summary.done + summary.reused + summary.failed} points failed; "
            f"{arguments.out / 'manifest.json'} says why, and the same command tries them again"
        )


COMPLETION = """\
Print a script that completes commands, options and choices when the tab key is pressed.

  bash   eval "$(mnnbio completion bash)"                in ~/.bashrc
  zsh    eval "$(mnnbio completion zsh)"                 in ~/.zshrc
  fish   mnnbio completion fish > ~/.config/fish/completions/mnnbio.fish"""


def add_completion(command: Callable[..., Parser], parser: Parser) -> None:
    """Add the command to the parser, which it completes."""
    one = command("completion", lambda arguments: _completion(arguments, parser), "complete in the shell", COMPLETION)
    one.add_argument("shell", choices=["bash", "zsh", "fish"], help="the shell")


def _completion(arguments: argparse.Namespace, parser: Parser) -> None:
    """Print a script for a shell."""
    from mnnbio.workflow.completion import completion_script

    print(completion_script(parser, arguments.shell), end="")
