"""Write a plan as a C++ project with Brian2's standalone device."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from mnnbio.spikes.brian_texts import plain_errors
from mnnbio.spikes.network import MadeNetwork, make_network, slot_number
from mnnbio.spikes.plan import Plan, PlannedSynapses, recordables
from mnnbio.spikes.session import brian_session


def write_cpp(plan: Plan, folder: Path) -> None:
    """Write the C++ project of a plan into a folder; it reads the plan's numbers from files (`program_files.py`).

    Brian2 generates what a step does; the loop over presentations and steps is ours (`presentations.h`), so that one
    program runs any number of them for any time, and Brian2's own loop, which looks up clocks in every step, is left at
    zero steps.
    """
    with brian_session("cpp_standalone"):
        from brian2 import get_device, second

        device = get_device()
        made = make_network(plan, connected=False)
        device.insert_code("before_start", "const mnnbio::Job job = mnnbio::take_job(args);")
        device.insert_code("main", "\n".join(_setup_lines(made)))
        with plain_errors(plan, made.network):
            made.network.run(0 * second, namespace={})
        device.insert_code("main", "\n".join(_loop_lines(made)))
        # Without this, Brian2 would write every array of the network, weights included, to disk at the end.
        device.insert_code("before_end", "return 0;")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in own_sources().items():
            (folder / name).write_bytes(text)
        device.build(directory=str(folder), compile=False, run=False, additional_source_files=[_OWN_PROGRAM])
        assert not device.static_arrays, f"numbers of the plan in the program: {list(device.static_arrays)}"
    for name, group in made.groups.items():
        tables = [group.variables[own] for own in plan.groups[name].tables if own not in plan.groups[name].shared]
        _vectorise(folder, group, [own for own in tables if own.constant], _name(made.clock.variables["timestep"]))
        for thresholder in group.thresholder.values():
            _test_in_blocks(folder, thresholder)
    _leave_out_unused(folder / "objects.cpp")
    (folder / "prelude.h").write_text(_PRELUDE)
    with (folder / "makefile").open("a") as makefile:
        makefile.write(_MAKE_RULES)


def _vectorise(folder: Path, group: Any, parameters: list[Any], timestep: str) -> None:
    """Let the compiler make vector code of a state update.

    It cannot see that the arrays of different variables do not overlap, and its own exponential is a call for each
    element; ours (`streams.h`) has neither branches nor calls. Where every one of the parameters has one value for all
    neurons, which is seen at the start of a presentation, they are read once, not for each neuron.
    """
    for code in group.state_updater._code_objects:
        file = folder / "code_objects" / f"{code.name}.cpp"
        text = file.read_text()
        if "exprel(" in text:  # a call for each element all the same, and then the library's exponential is faster
            continue
        before, found, after = text.partition(_LOOP)
        body, closed, rest = after.partition(_LOOP_END)
        if not (found and closed):
            raise AssertionError(f"no loop over elements in {file}")
        loop = f"#pragma GCC ivdep\n    {found}{body}{closed}"
        elements = {f"_ptr{_name(own)}": own.name for own in parameters}
        read = {array: name for array, name in elements.items() if f"{array}[_idx]" in body}
        if read:
            same = " && ".join(f"mnnbio::all_same({array}, N)" for array in read)
            values = "".join(f"const auto _one_{name} = {array}[0];\n    " for array, name in read.items())
            once = loop
            for array, name in read.items():
                once = once.replace(f"{array}[_idx]", f"_one_{name}")
            loop = _UNIFORM.format(timestep=timestep, same=same, values=values, once=once, each=loop)
        file.write_text(re.sub(r"\bexp\(", "mnnbio::exp_of(", f"{before}{loop}{rest}"))


def _test_in_blocks(folder: Path, thresholder: Any) -> None:
    """Let most thresholds be tested by vector code: one by one only in blocks where one of them is crossed."""
    for code in thresholder._code_objects:
        file = folder / "code_objects" / f"{code.name}.cpp"
        before, found, after = file.read_text().partition(_TEST_LOOP)
        test, tested, spikes = after.partition("if(_cond) {")
        if not (found and tested):
            raise AssertionError(f"no loop over thresholds in {file}")
        rest, closed, end = spikes.partition(_LOOP_END)
        file.write_text(f"{before}{_BLOCKS.format(test=test, spikes=f'{tested}{rest}')}{closed}{end}")


def _leave_out_unused(objects: Path) -> None:
    """Empty two functions of Brian2's program that are never called, and take longest to compile.

    They set and write every array by its name; arrays are ours to set, and are not written.
    """
    text = objects.read_text()
    for start, end in _UNUSED:
        before, found, after = text.partition(start)
        _, closed, rest = after.partition(end)
        if not (found and closed):
            raise AssertionError(f"no function {start!r} in {objects}")
        text = f"{before}{start}\n{end}{rest}"
    objects.write_text(text)


def own_sources() -> dict[str, bytes]:
    """Return our part of every generated program: the contents of its files by name."""
    found = files("mnnbio.spikes").joinpath("cpp").iterdir()
    return {file.name: file.read_bytes() for file in sorted(found, key=lambda file: file.name)}


_PRODUCTS = "before_groups"  # the slot after which products are formed
_LOOP = "for(int _idx=0; _idx<_N; _idx++)"
_LOOP_END = "\n    }\n"
_UNIFORM = """\
static bool _uniform = false;
    if (brian::{timestep}[0] == 0)
        _uniform = {same};
    if (_uniform)
    {{
    {values}{once}
    }}
    else
    {{
    {each}
    }}
"""
_TEST_LOOP = "for(size_t _idx=0; _idx<N; _idx++)\n    {\n"
_BLOCKS = """\
for(size_t _block=0; _block<N; _block+=64)
    {{
        const size_t _end = _block + 64 < N ? _block + 64 : N;
        char _any = 0;
        #pragma GCC ivdep
        for(size_t _idx=_block; _idx<_end; _idx++)
        {{
{test}_any |= _cond;
        }}
        if(!_any)
            continue;
        for(size_t _idx=_block; _idx<_end; _idx++)
        {{
{test}{spikes}
        }}"""
_OWN_PROGRAM = "presentations.cpp"
# How the functions begin, and how what follows them does.
_UNUSED = (
    ("void set_variable_by_name(std::string name, std::string s_value) {", "}\n//////////////// arrays"),
    ("void _write_arrays()\n{", "}\n\nvoid _dealloc_arrays()"),
)
# What all files of all programs include is compiled once (`common_parts.py`): nothing of a circuit may be in it.
_PRELUDE = """#include "synapses_classes.h"
#include "brianlib/clocks.h"
#include "brianlib/common_math.h"
#include "brianlib/dynamic_array.h"
#include "brianlib/stdint_compat.h"
#include "network.h"
#include <climits>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include "streams.h"
#include "presentations.h"
"""
# Compilers use half of the width of AVX-512 unless told otherwise; a layer's steps then take a quarter longer.
# What runs once needs no optimisation.
_MAKE_RULES = """
ifeq ($(shell uname -m), x86_64)
OPTIMISATIONS += -mprefer-vector-width=512
endif
main.o objects.o run.o: OPTIMISATIONS += -O1
$(OBJS): prelude.h.gch
$(OBJS): CXXFLAGS += -include prelude.h
prelude.h.gch: prelude.h
\t$(CXX) $(CXXFLAGS) -x c++-header $< -o $@
"""


def _setup_lines(made: MadeNetwork) -> Iterator[str]:
    """Yield the C++ lines that tell the loop which arrays of the network are what, and fill its synapses."""
    plan = made.plan
    yield f"mnnbio::Presentations presentations(job, {plan.replicas});"
    for name, synapses in made.synapses.items():
        yield from _synapse_lines(made, name, synapses)
    for name, group in made.groups.items():
        for variable in plan.groups[name].tables:
            array, size = _name(group.variables[variable]), plan.groups[name].size
            shared = variable in plan.groups[name].shared
            width, copies = (1, 1) if shared else (size, plan.replicas)
            yield f'presentations.parameter("{name}.{variable}", {array}, {width}, {copies});'
        for variable in plan.groups[name].start_tables:
            array, size = _name(group.variables[variable]), plan.groups[name].size
            yield f'presentations.parameter("{name}.{variable}.start", {array}, {size}, {plan.replicas}, true);'
        for variable in plan.groups[name].courses:
            array, size = _name(group.variables[variable]), plan.groups[name].size
            yield f'presentations.course("{name}.{variable}", {array}, {size});'
        if "_spikespace" in group.variables:
            array = _name(group.variables["_spikespace"])
            yield f"presentations.state({array}, _num_{array}, (int32_t)0);"
    for variable, start in made.states():
        array, value = _name(variable), str(start).lower() if isinstance(start, bool) else repr(start)
        values, length = (f"{array}.data()", f"{array}.size()") if variable.dynamic else (array, f"_num_{array}")
        yield f"presentations.state({values}, {length}, ({_C_TYPES[np.dtype(variable.dtype).kind]}){value});"
    for variable, width, salt in made.streams():
        array = f"{_name(variable)}.data()" if variable.dynamic else _name(variable)
        yield f"presentations.streams({array}, {width}, {salt});"
    for own in recordables(plan):
        holder = made.synapses[own.owner] if own.of_synapses else made.groups[own.owner]
        array = _name(holder.variables[own.variable])
        values = f"{array}.data()" if own.of_synapses else array
        number = (
            f"{_name(holder.variables['N'])}[0]/{plan.replicas}"
            if own.of_synapses
            else str(plan.groups[own.owner].size)
        )
        limit = repr(own.limit)
        yield f'presentations.recordable("{own.variable}", "{own.label}", {values}, {number}, {limit});'
    for name in plan.populations.values():
        yield f"presentations.neurons({_name(made.groups[name].variables['_spikespace'])}, {plan.groups[name].size});"


def _synapse_lines(made: MadeNetwork, name: str, synapses: Any) -> Iterator[str]:
    """Yield the lines that fill the arrays of synapses before Brian2 sorts them into its queues."""
    planned, replicas = made.plan.synapses[name], made.plan.replicas
    pre, post, number = (_name(synapses.variables[key]) for key in ("_synaptic_pre", "_synaptic_post", "N"))
    sizes = ", ".join(str(made.plan.groups[group].size) for group in (planned.source, planned.target))
    yield f'presentations.synapses("{name}", {pre}, {post}, {number}[0], {sizes});'
    for variable in planned.tables:
        array = _name(synapses.variables[variable])
        if variable in planned.shared:
            yield f'presentations.parameter("{name}.{variable}", {array}, 1, 1);'
        else:
            again = ", true" if planned.changes_weights else ""
            size = f"{number}[0]/{replicas}"
            yield f"{array}.resize({number}[0]);"
            yield f'presentations.parameter("{name}.{variable}", {array}.data(), {size}, {replicas}{again});'
    for variable in [*planned.start, *(["stream_syn"] if planned.salt >= 0 else [])]:
        yield f"{_name(synapses.variables[variable])}.resize({number}[0]);"
    for pathway in synapses._pathways:
        delay = pathway.variables["delay"]
        array = _name(delay)
        if pathway.prepost == "pre":
            copies = 1 if delay.scalar else replicas
            yield f"{array}.resize({'1' if delay.scalar else f'{number}[0]'});"
            yield f'presentations.delay("{name}", {array}.data(), {copies}, {made.plan.dt * 1e-3!r});'
        yield f"presentations.queue(brian::{pathway.name});"


def _loop_lines(made: MadeNetwork) -> Iterator[str]:
    """Yield the C++ lines that insert sources, random numbers and what carries spikes into a step, and run it all."""
    for group in made.sources():
        names = ("_spikespace", "next_spike", "stream", "gap_scale", "kept")
        arrays = [_name(group.variables[name]) if name in group.variables else "nullptr" for name in names]
        code = [group.thresholder["spike"], *group.contained_objects]
        functions = dict.fromkeys(f"_run_{c.name}" for item in code for c in item._code_objects)
        yield f"presentations.sources({len(group)}, {', '.join(arrays)}, {{{', '.join(functions)}}});"
    for group, planned in made.playbacks():
        replaced = ", ".join(f"_run_{c.name}" for c in group.thresholder["spike"]._code_objects)
        array = _name(group.variables["_spikespace"])
        yield f'presentations.playback("{planned.name}", {array}, {planned.size}, {replaced});'
    for name, group in made.groups.items():
        for variable, draw in made.plan.groups[name].draws.items():
            arrays = [_name(group.variables[own]) for own in (variable, "stream", *filter(None, [draw.quiet]))]
            numbers = f"{len(group)}, {draw.every}, {draw.offset}, {_first_code_after(made, 'start')}"
            yield f"presentations.{draw.distribution}_draws({', '.join(arrays)}, {numbers});"
    carried = (own for own in made.plan.synapses.values() if own.carrier != "brian")
    for synapses in sorted(carried, key=_brian_order):
        yield _pathway_line(made, synapses) if synapses.carries_spikes else _product_line(made, synapses)
    yield f"presentations.run({made.network.name}, {made.clock.name});"


def _brian_order(synapses: PlannedSynapses) -> tuple[int, str]:
    """Return the order in which Brian2 runs pathways: sums of weights are then rounded as in Python."""
    when = synapses.when if synapses.carries_spikes else _PRODUCTS
    return slot_number(when), f"{synapses.name}_pre"


def _pathway_line(made: MadeNetwork, synapses: PlannedSynapses) -> str:
    source, target = made.groups[synapses.source], made.groups[synapses.target]
    variable = target.variables[synapses.adds_to]
    gated = "unless refractory" in made.groups[synapses.target].equations[synapses.adds_to].flags
    arguments = [
        f'"{synapses.name}"',
        str("w_syn" in synapses.shared).lower(),
        *(str(made.plan.groups[name].size) for name in (synapses.source, synapses.target)),
        _name(source.variables["_spikespace"]),
        _name(variable),
        _name(target.variables["not_refractory"]) if gated else "nullptr",
        _first_code_after(made, synapses.when),
    ]
    return f"presentations.pathway({', '.join(arguments)});"


def _product_line(made: MadeNetwork, synapses: PlannedSynapses) -> str:
    source, target = made.groups[synapses.source], made.groups[synapses.target]
    arguments = [
        f'"{synapses.name}.w_syn"',
        *(str(made.plan.groups[name].size) for name in (synapses.source, synapses.target)),
        _name(source.variables[synapses.reads]),
        _name(target.variables[synapses.adds_to]),
        _first_code_after(made, _PRODUCTS),
    ]
    return f"presentations.product({', '.join(arguments)});"


def _first_code_after(made: MadeNetwork, slot: str) -> str:
    """Return the name of the first function of a step that runs after a slot of the schedule."""
    for item in made.network.sorted_objects:
        if slot_number(item.when) > slot_number(slot) and item._code_objects:
            return f"_run_{item._code_objects[0].name}"
    raise AssertionError(f"nothing runs after {slot}")


def _name(variable: Any) -> str:
    """Return the name of a variable's array in the program, of the vector itself where the array can grow."""
    from brian2 import get_device

    return str(get_device().get_array_name(variable, access_data=False))


_C_TYPES = {"f": "double", "i": "int32_t", "b": "char"}
