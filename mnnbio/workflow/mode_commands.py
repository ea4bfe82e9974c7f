"""`mnnbio run modes-digits` and `mnnbio run modes-context`: their options and how they are done."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mnnbio.workflow.arguments import Parser, add_options, layer_of, path_argument, progress_wanted, shown
from mnnbio.workflow.mode_config import (
    MODE_PRESETS,
    MODE_RUNS,
    MODE_SECTIONS,
    ModeConfig,
    TaskOptions,
    make_mode_config,
)
from mnnbio.workflow.options import ConfigError, read_yaml
from mnnbio.workflow.run_config import differences, read_layer, to_yaml
from mnnbio.workflow.run_folder import RunFolder, write_text

MODES = """\
Train a recurrent spiking network whose weights have few modes, show it test trials, and report.

  mnnbio run modes-digits --out runs/digits                   8×8 images of digits, which scikit-learn brings along
  mnnbio run modes-digits --data-dir DIR --out runs/mnist     the four IDX files of MNIST, gzipped or not
  mnnbio run modes-context --out runs/context                 integrate one of two noisy stimuli, as the context says
  mnnbio run modes-context --switching 0.5 --out runs/switch  ... where it may change after the stimuli
  mnnbio run --out runs/digits                                continue what was interrupted, redo what has changed

A run folder keeps its options in config.yaml. The next run starts from them; options given on the command line change
them, and the steps that depend on a changed option are done anew. Times are in ms, potentials in mV."""


def mode_parser(words: Sequence[str]) -> Parser | None:
    """Return the parser of a run of a network of few modes, None where the words after ``mnnbio run`` mean another.

    They mean one if they name its task, or its run folder or configuration file is of one.
    """
    before = ["", *words]
    values = {"--out": "", "--config": ""}
    named = False
    for option, word in zip(before, words, strict=False):
        name, _, value = word.partition("=")
        if name in values and value:
            values[name] = value
        if option in values:
            values[option] = word
        else:
            named = named or word in MODE_RUNS
    files = [Path(values["--out"]) / "config.yaml" if values["--out"] else None, Path(values["--config"] or ".")]
    if named or any(file is not None and _is_mode_run(file) for file in files):
        return _parser()
    return None


def holds_mode_run(folder: RunFolder) -> bool:
    """Return whether a run folder is of a network of few modes."""
    return _is_mode_run(folder.config)


def _is_mode_run(file: Path) -> bool:
    """Return whether a configuration file is of a run of a network of few modes."""
    with suppress(OSError, ConfigError):
        content = read_yaml(file) if file.is_file() else None
        return isinstance(content, dict) and TaskOptions.SECTION in content
    return False


def _parser() -> Parser:
    parser = Parser(prog="mnnbio run", description=MODES)
    parser.set_defaults(do=run_modes, parser=parser, folder=None)
    parser.add_argument("data_set", metavar="TASK", nargs="?", help=f"task: {', '.join(MODE_RUNS)}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--out", dest="folder", metavar="RUN", type=path_argument, required=True, help="the run folder")
    parser.add_argument("--config", metavar="FILE", type=path_argument, help="a YAML file with options")
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")
    add_options(parser, MODE_SECTIONS.values(), without=["task.name"], presets=MODE_PRESETS)
    return parser


def run_modes(arguments: argparse.Namespace) -> None:
    """Train, test and report: whatever is not done yet."""
    from mnnbio.workflow.mode_run import ModeSession, do_everything

    folder = RunFolder(arguments.folder)
    config = _config(arguments, folder)
    session = ModeSession(folder, config, progress_wanted(arguments))
    session.require_task()  # bad data leave no folder behind
    with folder.opened():
        folder.note(f"mnnbio {' '.join(arguments.line)}")
        _keep(config, session.folder, session.journal.tell)
        do_everything(session)


def _config(arguments: argparse.Namespace, folder: RunFolder) -> ModeConfig:
    """Return the options of a run: of its folder or a file, changed by those of the command line."""
    if arguments.data_set is not None and arguments.data_set not in MODE_RUNS:
        raise ConfigError(f"unknown task {arguments.data_set!r}; must be one of {list(MODE_RUNS)}")
    kept = None
    if folder.config.is_file():
        if not holds_mode_run(folder):
            wanted = arguments.data_set or "a network of few modes"
            raise ConfigError(f"{folder} holds a run of another kind, not of {wanted}; choose another folder")
        kept = read_layer(folder.config, MODE_SECTIONS)
    base = read_layer(arguments.config, MODE_SECTIONS) if arguments.config else kept or {}
    named = {"task": {"name": arguments.data_set}} if arguments.data_set else {}
    if kept is not None and arguments.data_set is not None:
        other = make_mode_config(kept).task.name
        if other != arguments.data_set:
            raise ConfigError(f"{folder} holds a run of {other}, not of {arguments.data_set}; choose another folder")
    return make_mode_config(base, named, layer_of(arguments))


def _keep(config: ModeConfig, folder: RunFolder, tell: Callable[[str], None]) -> None:
    """Write the configuration into the run folder, and say what changed."""
    path = folder.config
    if path.is_file():
        before = make_mode_config(read_layer(path, MODE_SECTIONS))
        for where, (old, new) in differences(before, config, MODE_SECTIONS).items():
            tell(f"{'option':<10} {where}: {shown(old)} → {shown(new)}")
    text = to_yaml(config, MODE_SECTIONS)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
