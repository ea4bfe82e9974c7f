"""The command `mnnbio`."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from mnnbio.workflow.arguments import Parser, add_options, layer_of, path_argument, progress_wanted, shown
from mnnbio.workflow.commands import add_cache, add_circuit, add_completion, add_sweep
from mnnbio.workflow.learn_commands import LEARN_RUN
from mnnbio.workflow.mode_commands import MODE_RUN
from mnnbio.workflow.options import ConfigError, require_known
from mnnbio.workflow.report_command import add_report
from mnnbio.workflow.run_config import (
    PRESETS,
    SECTIONS,
    Config,
    DataOptions,
    DecisionOptions,
    ModelOptions,
    SpikeOptions,
    StatisticsOptions,
    TrainingOptions,
    differences,
    make_config,
    read_layer,
    to_yaml,
)
from mnnbio.workflow.run_folder import RunFolder, write_text
from mnnbio.workflow.run_kinds import RunKind

if TYPE_CHECKING:
    from mnnbio.workflow.trained_run import Session

DESCRIPTION = """\
Train a moment neural network, run it as a network of leaky integrate-and-fire neurons in generated C++, and compare
theory and spikes."""

EXAMPLES = """\
examples:
  mnnbio run digits --out runs/digits                 everything once: train, simulate, compare, report
  mnnbio run --out runs/digits                        continue what was interrupted, redo what has changed
  mnnbio run mnist --data-dir mnist/ --out runs/mnist
  mnnbio run table iris.csv --target species --out runs/iris
  mnnbio simulate runs/digits --trials 200            one part again, with another option
  mnnbio config mnist > my.yaml                       every option there is, with its meaning
  mnnbio report runs/a runs/b --out page.html         results of any kind, side by side
  mnnbio circuit brunel --g 5 --nu 2 --out runs/brunel   a ready-made circuit: predict, simulate, report
  mnnbio cpp runs/digits --out digits_cpp             the network as a C++ project ...
  mnnbio read digits_cpp                              ... and its output as a result file
  mnnbio sweep my.yaml --out sweeps/mine              a circuit at many points of its parameters
  mnnbio completion bash                              a script that completes commands and options in the shell

A run folder holds config.yaml, checkpoint/, result.nc, report.html, figures/ and log.txt.
`mnnbio COMMAND --help` lists the options of a command. Times are in ms, potentials in mV."""

RUN = """\
Do everything that is not done yet: train, simulate, compare, report.

  mnnbio run digits --out runs/digits                 8×8 images of digits, which scikit-learn brings along
  mnnbio run mnist --data-dir DIR --out runs/mnist    the four IDX files of MNIST, gzipped or not
  mnnbio run table FILE --target COLUMN --out DIR     any .csv or .npz table, classification or regression
  mnnbio run --config my.yaml --out runs/mine         every option from a file
  mnnbio run modes-digits --out runs/modes            a spiking network of few modes; so modes-context: see
                                                      mnnbio run modes-digits --help
  mnnbio run pspm --out runs/pspm                     a network that learns to fire given spikes: see
                                                      mnnbio run pspm --help

A run folder keeps its options in config.yaml. The next run starts from them; options given on the command line change
them, and the steps that depend on a changed option are done anew."""

FAILURE, USAGE, INTERRUPTED = 1, 2, 130
MOST_LINES = 4  # of an error
# Errors in what was asked for or given, not in doing it.
BAD_INPUT = (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
EXPECTED = (*BAD_INPUT, OSError, RuntimeError, ArithmeticError, MemoryError)

# Runs with options of their own; a new kind is listed here.
RUN_KINDS: tuple[RunKind[Any], ...] = (MODE_RUN, LEARN_RUN)
SIMULATED = (SpikeOptions, DecisionOptions, StatisticsOptions)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of the process.

    Returns
    -------
    int
        0, or 1 for a failure, 2 for wrong usage or input, 130 after Ctrl-C.
    """
    arguments = argparse.Namespace(folder=None, debug=False)
    try:
        parser = _parser()
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:
            arguments.parser.unknown(unknown)
        arguments.line = list(sys.argv[1:] if argv is None else argv)
        arguments.do(arguments)
    except KeyboardInterrupt:
        folder = arguments.folder
        begun = folder is not None and RunFolder(folder).config.is_file()
        kept = f" What is done is kept; continue with: mnnbio run --out {folder}" if begun else ""
        print(f"\nmnnbio: interrupted.{kept}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        _explain(error, arguments)
        return USAGE if isinstance(error, BAD_INPUT) else FAILURE
    return 0


def _run(arguments: argparse.Namespace) -> None:
    """Train, simulate, compare, report: whatever is not done yet."""
    from mnnbio.workflow.run_output import summary
    from mnnbio.workflow.trained_run import compare, report, simulate, train

    with _session(arguments, compiled=True, simulated=True) as session:
        if session.config.model.name == "spiking":
            from mnnbio.workflow.table_run import run_spiking

            run_spiking(session)
            return
        for step in (train, simulate, compare, report):
            step(session)
        session.say("\n" + summary(session))


def _train(arguments: argparse.Namespace) -> None:
    """Train the moment network."""
    from mnnbio.workflow.trained_run import train

    with _session(arguments) as session:
        train(session)


def _simulate(arguments: argparse.Namespace) -> None:
    """Run the trained network as spikes."""
    from mnnbio.workflow.trained_run import simulate

    with _session(arguments, compiled=True, simulated=True) as session:
        simulate(session)


def _compare(arguments: argparse.Namespace) -> None:
    """Predict and compare."""
    from mnnbio.workflow.run_output import summary
    from mnnbio.workflow.trained_run import compare

    with _session(arguments, data=False) as session:
        remarks = compare(session)
        session.say("\n" + summary(session))
    if remarks:
        raise RuntimeError(f"{' '.join(remarks)} The simulations are kept in {session.folder.result}")


def _report(arguments: argparse.Namespace) -> None:
    """Write report and figures."""
    from mnnbio.workflow.run_output import summary
    from mnnbio.workflow.trained_run import report

    with _session(arguments, data=False) as session:
        report(session)
        session.say("\n" + summary(session))


def _print_config(arguments: argparse.Namespace) -> None:
    """Print a configuration."""
    base = read_layer(arguments.config) if arguments.config else {}
    print(to_yaml(make_config(base, _named(arguments), layer_of(arguments))), end="")


def _cpp(arguments: argparse.Namespace) -> None:
    """Write the C++ project of one of the two simulations."""
    from mnnbio.workflow.run_output import write_run_project

    with _session(arguments) as session:
        write_run_project(session, arguments.part, arguments.out)


def _read(arguments: argparse.Namespace) -> None:
    """Read the output of a C++ project."""
    from mnnbio.workflow.run_output import read_run_project

    print(read_run_project(arguments.project, arguments.out or arguments.project / "result.nc"))


@contextmanager
def _session(
    arguments: argparse.Namespace, *, data: bool = True, compiled: bool = False, simulated: bool = False
) -> Iterator[Session]:
    """Open a run folder, once everything that can be wrong beforehand is right."""
    folder = RunFolder(arguments.folder)
    config = _config(arguments, folder)
    from mnnbio.workflow.trained_run import Session

    if config.model.name == "spiking" and arguments.command != "run":
        raise ConfigError(f"a run of a spiking network is done as a whole: mnnbio run --out {folder}")
    session = Session(folder, config, progress=progress_wanted(arguments))
    if compiled and config.simulation.codegen == "cpp_standalone":
        _require_compiler()
    if data:
        _ = session.task  # bad data leave no folder behind
    if simulated:
        session.require_affordable()
    with folder.opened():
        folder.note(f"mnnbio {' '.join(arguments.line)}")
        _keep(config, session)
        yield session


def _parser_of_kind(words: Sequence[str]) -> Parser | None:
    """Return the parser of a run with options of its own, None where words mean a trained moment network."""
    return next((parser for kind in RUN_KINDS if (parser := kind.parser(words)) is not None), None)


def _require_compiler() -> None:
    """Say before the training, not after it, that there is no compiler."""
    from mnnbio.spikes import CompilerNotFound, require_compiler

    try:
        require_compiler()
    except CompilerNotFound as error:
        raise CompilerNotFound(f"{error} (the option --codegen runtime)") from error


def _config(arguments: argparse.Namespace, folder: RunFolder) -> Config:
    """Return the options of a run: of its folder or a file, changed by those of the command line."""
    other = next((kind for kind in RUN_KINDS if kind.holds(folder)), None)
    if other is not None:
        raise ConfigError(f"{folder} holds {other.named}, whose steps are done by: mnnbio run --out {folder}")
    kept = read_layer(folder.config) if folder.config.is_file() else None
    named = _named(arguments)
    file = getattr(arguments, "config", None)
    base = read_layer(file) if file else kept or {}
    given = layer_of(arguments)
    if not any("name" in layer.get("data", {}) for layer in (base, named, given)):
        if not hasattr(arguments, "config"):
            raise ConfigError(f"{folder} holds no run; start one: mnnbio run digits --out {folder}")
        option = "digits" if arguments.command == "run" else "--data digits"
        raise ConfigError(f"which data? {folder} holds no run yet: name one of {list(PRESETS)}, such as {option}")
    config = make_config(base, named, given)
    if kept is not None and make_config(kept).data.name != config.data.name:
        raise ConfigError(
            f"{folder} holds a run of {make_config(kept).data.name}, not of {config.data.name}; choose another folder"
        )
    return config.changed(data=config.data.located())


def _named(arguments: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Return the data set that positional arguments name."""
    data: dict[str, str] = {}
    if getattr(arguments, "data_set", None):
        require_known(
            [arguments.data_set], [*PRESETS, *(task for kind in RUN_KINDS for task in kind.tasks)], "data set"
        )
        data["name"] = arguments.data_set
    if getattr(arguments, "file", None):
        if data.get("name") != "table":
            raise ConfigError(
                f"only a table is read from a file: mnnbio run table {arguments.file} --target COLUMN ..."
            )
        data["file"] = arguments.file
    return {"data": data}


def _keep(config: Config, session: Session) -> None:
    """Write the configuration into the run folder, and say what changed."""
    path = session.folder.config
    if path.is_file():
        for where, (old, new) in differences(make_config(read_layer(path)), config).items():
            session.say(f"{'option':<10} {where}: {shown(old)} → {shown(new)}")
    text = to_yaml(config)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _explain(error: Exception, arguments: argparse.Namespace) -> None:
    """Say in one message what went wrong; where, is in the log, and on the terminal with --debug."""
    where = "--debug shows where"
    if arguments.folder is not None:
        folder = RunFolder(arguments.folder)
        with suppress(OSError):  # a log that cannot be written is no news
            if folder.log.is_file():
                folder.note("".join(traceback.format_exception(error)))
                where = f"{folder.log} says where"
    if arguments.debug:
        traceback.print_exception(error)
    text = str(error) or type(error).__name__
    if not isinstance(error, EXPECTED):
        text = f"unexpected {type(error).__name__}: {text} ({where})"
    lines = text.splitlines()
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"… ({where})"]
    print("mnnbio: error: " + "\n".join(lines), file=sys.stderr)


def _parser() -> Parser:
    from importlib.metadata import version

    parser = Parser(prog="mnnbio", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("--version", action="version", version=f"mnnbio {version('mnnbio')}")
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")

    def command(name: str, do: Callable[[argparse.Namespace], None], help: str, description: str = "") -> Parser:
        own: Parser = commands.add_parser(name, help=help, description=description or f"{help[0].upper()}{help[1:]}.")
        own.set_defaults(do=do, parser=own, folder=None)
        own.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return own

    everything = command("run", _run, "do everything that is not done yet", RUN)
    everything.instead = _parser_of_kind
    _add_data(everything)
    everything.add_argument(
        "--out", dest="folder", metavar="RUN", type=path_argument, required=True, help="the run folder"
    )
    _add_config(everything)
    _add_quiet(everything)
    add_options(everything, SECTIONS.values(), without=["data.name", "data.file"])

    one = command("train", _train, "train the moment network of a run folder")
    _add_folder(one)
    _add_config(one)
    add_options(one, [DataOptions, ModelOptions, TrainingOptions])

    one = command("simulate", _simulate, "run the trained network of a run folder as spikes")
    _add_folder(one)
    add_options(one, SIMULATED)

    one = command("compare", _compare, "predict the simulations of a run folder and compare")
    _add_folder(one)
    add_options(one, [SpikeOptions], without=["simulation.dt", "simulation.codegen", "simulation.seed"])

    add_report(command, _report)

    one = command("config", _print_config, "print the options of a data set as YAML, for --config")
    _add_data(one)
    _add_config(one)
    add_options(one, SECTIONS.values(), without=["data.name", "data.file"])

    one = command("cpp", _cpp, "write the trained network of a run folder as a C++ project", CPP)
    _add_folder(one)
    one.add_argument(
        "--out", metavar="DIR", type=path_argument, required=True, help="folder for the project, new or empty"
    )
    one.add_argument(
        "--part",
        choices=["decisions", "statistics"],
        default="decisions",
        help="which of the two simulations (default: decisions)",
    )
    add_options(one, SIMULATED)

    one = command("read", _read, "read the output of a C++ project as a result file", READ)
    one.add_argument("project", metavar="DIR", type=path_argument, help="folder of a C++ project that has run")
    one.add_argument("--out", metavar="FILE", type=path_argument, help="file to write (default: DIR/result.nc)")

    add_circuit(command)
    add_sweep(command)
    add_cache(command)
    add_completion(command, parser)
    return parser


CPP = """\
Write the trained network, its stimuli and everything else that a simulation needs as a C++ project. It builds and runs
without Python:

  mnnbio cpp runs/digits --out digits_cpp
  cd digits_cpp && make && ./main
  mnnbio read digits_cpp"""

READ = """\
Turn the output of a C++ project that has run into a result file: spikes, statistics, and their comparison with the
theory, as in the result.nc of a run folder."""


def _add_data(parser: Parser) -> None:
    parser.add_argument("data_set", metavar="DATA", nargs="?", help=f"data set: {', '.join(PRESETS)}")
    parser.add_argument("file", metavar="FILE", nargs="?", help="table: the .csv or .npz file")


def _add_folder(parser: Parser) -> None:
    parser.add_argument("folder", metavar="RUN", type=path_argument, help="the run folder")
    _add_quiet(parser)


def _add_config(parser: Parser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", type=path_argument, help="a YAML file with options; see mnnbio config"
    )


def _add_quiet(parser: Parser) -> None:
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")
