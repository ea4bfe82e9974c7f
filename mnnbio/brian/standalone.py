"""Write a plan as a C++ project with Brian2's standalone device."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from mnnbio.brian.network import Realisation, realise
from mnnbio.brian.plan import Plan
from mnnbio.brian.session import brian_session


def write_cpp(plan: Plan, folder: Path) -> None:
    """Write the C++ project of a plan into a folder; it reads the plan's numbers from files (`inputs.py`).

    Brian2 generates what a step does; the loop over presentations and steps is ours (`presentations.h`), so that one
    program runs any number of them for any time, and Brian2's own loop, which looks up clocks in every step, is left at
    zero steps.
    """
    with brian_session("cpp_standalone"):
        from brian2 import get_device, second

        device = get_device()
        made = realise(plan, connected=False)
        device.insert_code("before_start", "const mnnbio::Job job = mnnbio::take_job(args);")
        device.insert_code("main", "\n".join(_setup_lines(made)))
        made.network.run(0 * second, namespace={})
        device.insert_code("main", "\n".join(_loop_lines(made)))
        # Without this, Brian2 would write every array of the network, weights included, to disk at the end.
        device.insert_code("before_end", "return 0;")
        folder.mkdir(parents=True, exist_ok=True)
        for header, text in headers().items():
            (folder / header).write_bytes(text)
        device.build(directory=str(folder), compile=False, run=False)
        assert not device.static_arrays, f"numbers of the plan in the program: {list(device.static_arrays)}"
    main = folder / "main.cpp"
    main.write_text(f'#include "presentations.h"\n{main.read_text()}')
    (folder / "prelude.h").write_text(_PRELUDE)
    with (folder / "makefile").open("a") as makefile:
        makefile.write(_PRELUDE_RULES)


def headers() -> dict[str, bytes]:
    """Return our part of every generated program: the contents of the header files by name."""
    found = (file for file in files("mnnbio.brian").iterdir() if file.name.endswith(".h"))
    return {file.name: file.read_bytes() for file in sorted(found, key=lambda file: file.name)}


# Most of the time of compiling goes into the same headers again and again, so they are compiled once.
_PRELUDE = """#include "objects.h"
#include "brianlib/common_math.h"
#include <cmath>
#include <climits>
#include <ctime>
#include <fstream>
#include <iostream>
#include "streams.h"
"""
_PRELUDE_RULES = """
$(OBJS): prelude.h.gch
$(OBJS): CXXFLAGS += -include prelude.h
prelude.h.gch: prelude.h objects.h
\t$(CXX) $(CXXFLAGS) -x c++-header $< -o $@
"""


def _setup_lines(made: Realisation) -> Iterator[str]:
    """Yield the C++ lines that tell the loop which arrays of the network are what, and fill its synapses."""
    plan = made.plan
    yield f"mnnbio::Presentations presentations(job, {plan.replicas});"
    for name, synapses in made.synapses.items():
        yield from _synapse_lines(made, name, synapses)
    for name, group in made.groups.items():
        for variable in plan.groups[name].tables:
            array, size = _name(group.variables[variable]), plan.groups[name].size
            yield f'presentations.parameter("{name}.{variable}", {array}, {size}, {plan.replicas});'
        if "_spikespace" in group.variables:
            array = _name(group.variables["_spikespace"])
            yield f"presentations.state({array}, _num_{array}, (int32_t)0);"
    for variable, start in made.states():
        array, value = _name(variable), str(start).lower() if isinstance(start, bool) else repr(start)
        yield f"presentations.state({array}, _num_{array}, ({_C_TYPES[np.dtype(variable.dtype).kind]}){value});"
    for variable, width, salt in made.streams():
        yield f"presentations.streams({_name(variable)}, {width}, {salt});"
    for group in made.sources():
        names = [_name(group.variables[name]) for name in ("next_spike", "stream", "gap_scale")]
        yield f"presentations.first_spikes({', '.join(names)}, {len(group)});"
    for monitor in made.monitors.values():
        arrays = [_name(monitor.variables[name]) for name in ("i", "t")]
        yield f"presentations.record({', '.join(arrays)}, {_step(made)});"


def _synapse_lines(made: Realisation, name: str, synapses: Any) -> Iterator[str]:
    """Yield the lines that fill the arrays of synapses before Brian2 sorts them into its queues."""
    planned, replicas = made.plan.synapses[name], made.plan.replicas
    pre, post, number = (_name(synapses.variables[key]) for key in ("_synaptic_pre", "_synaptic_post", "N"))
    sizes = ", ".join(str(made.plan.groups[group].size) for group in (planned.source, planned.target))
    yield f'presentations.synapses("{name}", {pre}, {post}, {number}[0], {sizes});'
    for variable in planned.tables:
        array = _name(synapses.variables[variable])
        if planned.is_shared(variable):
            yield f'presentations.parameter("{name}.{variable}", {array}, 1, 1);'
        else:
            yield f"{array}.resize({number}[0]);"
            yield f'presentations.parameter("{name}.{variable}", {array}.data(), {number}[0]/{replicas}, {replicas});'
    if planned.on_pre:
        yield f'presentations.delays("{name}", {_name(synapses.pre.variables["delay"])}, {number}[0], {_step(made)});'


def _loop_lines(made: Realisation) -> Iterator[str]:
    """Yield the C++ lines that run the presentations, once Brian2 has made its queues."""
    for name, synapses in made.synapses.items():
        planned = made.plan.synapses[name]
        if planned.on_pre:
            yield f"presentations.queue({synapses.pre.name});"
            unused = [synapses.pre.variables["delay"]]
            unused += [] if planned.uses_sources else [synapses.variables["_synaptic_pre"]]
            yield from (f"mnnbio::release({_name(variable)});" for variable in unused)
    yield f"presentations.run({made.network.name}, {made.clock.name});"


def _step(made: Realisation) -> str:
    return f"{made.clock.name}.dt[0]"


def _name(variable: Any) -> str:
    """Return the name of a variable's array in the program, of the vector itself where the array can grow."""
    from brian2 import get_device

    return str(get_device().get_array_name(variable, access_data=False))


_C_TYPES = {"f": "double", "i": "int32_t", "b": "char"}
