"""`mnnbio run pspm`: what it is called, and how it is done."""

from __future__ import annotations

from collections.abc import Callable

from mnnbio.workflow.learn_config import LEARN_RUNS, LEARN_SECTIONS, LearnConfig, make_learn_config
from mnnbio.workflow.run_folder import RunFolder
from mnnbio.workflow.run_kinds import RunKind

LEARN = """\
Let a recurrent network learn to fire the spikes of another (pre-synaptic pool modification), and report whether it
found its weights.

  mnnbio run pspm --out runs/pspm                             50 neurons, 1 s, from other weights of the same kind
  mnnbio run pspm --errors all --credit pool --out runs/all   the published rule
  mnnbio run pspm --rho 1.2 --passes 6000 --out runs/strong   strong recurrent input
  mnnbio run --out runs/pspm                                  continue what was interrupted, redo what has changed

A run folder keeps its options in config.yaml. The next run starts from them; options given on the command line change
them, and the steps that depend on a changed option are done anew. Times are in ms, potentials in mV."""


def _do(folder: RunFolder, config: LearnConfig, progress: bool) -> Callable[[], None]:
    """Return what makes the reference, learns, judges and reports."""
    from mnnbio.workflow.learn_run import LearnSession, do_everything

    return lambda: do_everything(LearnSession(folder, config, progress))


LEARN_RUN = RunKind(
    named="a network that learns from spikes",
    tasks=LEARN_RUNS,
    described=LEARN,
    sections=LEARN_SECTIONS,
    make=make_learn_config,
    task_of=lambda config: config.reference.name,
    do=_do,
)
