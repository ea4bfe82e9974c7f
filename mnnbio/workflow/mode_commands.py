"""`mnnbio run modes-digits` and `mnnbio run modes-context`: what they are called, and how they are done."""

from __future__ import annotations

from collections.abc import Callable

from mnnbio.workflow.mode_config import MODE_PRESETS, MODE_RUNS, MODE_SECTIONS, ModeConfig, make_mode_config
from mnnbio.workflow.run_folder import RunFolder
from mnnbio.workflow.run_kinds import RunKind

MODES = """\
Train a recurrent spiking network whose weights have few modes, show it test trials, and report.

  mnnbio run modes-digits --out runs/digits                   8×8 images of digits, which scikit-learn brings along
  mnnbio run modes-digits --data-dir DIR --out runs/mnist     the four IDX files of MNIST, gzipped or not
  mnnbio run modes-context --out runs/context                 integrate one of two noisy stimuli, as the context says
  mnnbio run modes-context --switching 0.5 --out runs/switch  ... where it may change after the stimuli
  mnnbio run --out runs/digits                                continue what was interrupted, redo what has changed

A run folder keeps its options in config.yaml. The next run starts from them; options given on the command line change
them, and the steps that depend on a changed option are done anew. Times are in ms, potentials in mV."""


def _do(folder: RunFolder, config: ModeConfig, progress: bool) -> Callable[[], None]:
    """Return what trains, tests and reports, once the data are known to be there."""
    from mnnbio.workflow.mode_run import ModeSession, do_everything

    session = ModeSession(folder, config, progress)
    session.require_task()
    return lambda: do_everything(session)


MODE_RUN = RunKind(
    named="a network of few modes",
    tasks=MODE_RUNS,
    described=MODES,
    sections=MODE_SECTIONS,
    presets=MODE_PRESETS,
    make=make_mode_config,
    task_of=lambda config: config.task.name,
    do=_do,
)
