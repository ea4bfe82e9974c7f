"""Runs with options of their own behind `mnnbio run`: which words and folders mean them, and how they begin."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from mnnbio.workflow.arguments import Parser, add_options, layer_of, path_argument, progress_wanted, shown
from mnnbio.workflow.options import ConfigError, Options, read_yaml
from mnnbio.workflow.run_config import Sections, Tree, differences, read_layer, to_yaml
from mnnbio.workflow.run_folder import RunFolder, write_text

C = TypeVar("C", bound=Options)


@dataclass(frozen=True, kw_only=True)
class RunKind(Generic[C]):
    """A kind of run whose options are none of those of a trained moment network.

    Parameters
    ----------
    named : str
        What such a run is of, as messages say it.
    tasks : tuple of str
        First words after ``mnnbio run`` that mean it.
    described : str
        Help text of its command.
    sections : mapping
        Sections of its options, by name; the first is the one by which a configuration file is known.
    make : callable
        Turns layers of options, later ones stronger, into a configuration.
    task_of : callable
        Task of a configuration.
    do : callable
        Everything that is not done yet, in an opened folder; called with folder, configuration and progress. What it
        returns is called with the folder locked: data are read, and found bad, before a folder is made.
    presets : mapping
        Options that differ from the defaults, by task.
    """

    named: str
    tasks: tuple[str, ...]
    described: str
    sections: Sections
    make: Callable[..., C]
    task_of: Callable[[C], str]
    do: Callable[[RunFolder, C, bool], Callable[[], None]]
    presets: Mapping[str, Tree] = field(default_factory=dict)

    @property
    def known_by(self) -> str:
        """Name of the section by which a configuration file is known."""
        return next(iter(self.sections))

    def parser(self, words: Sequence[str]) -> Parser | None:
        """Return the parser of such a run, None where the words after ``mnnbio run`` mean another.

        They mean one if they name its task, or if its run folder or configuration file is of one.
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
                named = named or word in self.tasks
        files = [Path(values["--out"]) / "config.yaml" if values["--out"] else None, Path(values["--config"] or ".")]
        if named or any(file is not None and self._is_one(file) for file in files):
            return self._parser()
        return None

    def holds(self, folder: RunFolder) -> bool:
        """Return whether a run folder is of this kind."""
        return self._is_one(folder.config)

    def start(self, arguments: argparse.Namespace) -> None:
        """Do whatever is not done yet of the run that command-line arguments mean."""
        folder = RunFolder(arguments.folder)
        config = self._config(arguments, folder)
        work = self.do(folder, config, progress_wanted(arguments))
        with folder.opened():
            folder.note(f"mnnbio {' '.join(arguments.line)}")
            self._keep(config, folder)
            work()

    def _is_one(self, file: Path) -> bool:
        with suppress(OSError, ConfigError):
            content = read_yaml(file) if file.is_file() else None
            return isinstance(content, dict) and self.known_by in content
        return False

    def _parser(self) -> Parser:
        parser = Parser(prog="mnnbio run", description=self.described)
        parser.set_defaults(do=self.start, parser=parser, folder=None)
        parser.add_argument("data_set", metavar="TASK", nargs="?", help=f"task: {', '.join(self.tasks)}")
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        parser.add_argument(
            "--out", dest="folder", metavar="RUN", type=path_argument, required=True, help="the run folder"
        )
        parser.add_argument("--config", metavar="FILE", type=path_argument, help="a YAML file with options")
        parser.add_argument("--no-progress", action="store_true", help="no progress bars")
        without = [f"{self.known_by}.name"]
        add_options(parser, self.sections.values(), without=without, presets=self.presets)
        return parser

    def _config(self, arguments: argparse.Namespace, folder: RunFolder) -> C:
        """Return the options of a run: of its folder or a file, changed by those of the command line."""
        task = arguments.data_set
        if task is not None and task not in self.tasks:
            raise ConfigError(f"unknown task {task!r}; must be one of {list(self.tasks)}")
        kept = None
        if folder.config.is_file():
            if not self.holds(folder):
                raise ConfigError(
                    f"{folder} holds a run of another kind, not of {task or self.named}; choose another folder"
                )
            kept = read_layer(folder.config, self.sections)
        base = read_layer(arguments.config, self.sections) if arguments.config else kept or {}
        named = {self.known_by: {"name": task}} if task else {}
        if kept is not None and task is not None:
            other = self.task_of(self.make(kept))
            if other != task:
                raise ConfigError(f"{folder} holds a run of {other}, not of {task}; choose another folder")
        return self.make(base, named, layer_of(arguments))

    def _keep(self, config: C, folder: RunFolder) -> None:
        """Write the configuration into the run folder, and say what changed."""
        path = folder.config
        if path.is_file():
            before = self.make(read_layer(path, self.sections))
            for where, (old, new) in differences(before, config, self.sections).items():
                text = f"{'option':<10} {where}: {shown(old)} → {shown(new)}"
                print(text, flush=True)
                folder.note(text)
        text = to_yaml(config, self.sections)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
