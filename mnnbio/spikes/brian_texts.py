"""Texts in Brian2's language: what is random in them, and the units of their variables."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from mnnbio.machine import import_brian
from mnnbio.units import in_si

if TYPE_CHECKING:
    from mnnbio.spikes.plan import Plan

_DRAWS = {"rand": "uniform_draw", "randn": "normal_draw"}


class Texts(NamedTuple):
    """Equations, threshold and reset of neurons."""

    equations: str
    threshold: str
    reset: str


class Renamed(NamedTuple):
    """Equations in which variables have other names, `names` of the old ones."""

    equations: str
    names: dict[str, str]


class Streams:
    """What is random in the equations of a group: stochastic variables, and calls of ``rand()`` and ``randn()``.

    Parameters
    ----------
    equations, threshold, reset : str
        In Brian2's language.

    Attributes
    ----------
    noises : list of str
        Stochastic variables, such as ``xi``.
    number : int
        Random numbers of an element in a step.
    """

    def __init__(self, equations: str, threshold: str = "", reset: str = "") -> None:
        self.noises: list[str] = []
        self.number = 0
        if not any(word in f"{equations} {threshold} {reset}" for word in ("xi", "rand")):
            return
        import_brian()
        from brian2 import Equations

        own = Equations(equations)
        self.noises = sorted(own.stochastic_variables)
        texts = [str(eq.expr) for eq in own.values() if eq.expr is not None]
        calls = sum(_calls(text, "eval") for text in texts) + sum(_calls(text, "exec") for text in (threshold, reset))
        self.number = len(self.noises) + calls

    def __bool__(self) -> bool:
        return self.number > 0

    def rewritten(self, equations: str, threshold: str, reset: str, *, every: int) -> Texts:
        """Return the texts with every call drawing from the stream of its element.

        Parameters
        ----------
        equations, threshold, reset : str
        every : int
            Random numbers of an element in a step, those of drives included; those of these texts are the last ones.
        """
        import_brian()
        from brian2 import Equations

        offset = every - self.number + len(self.noises)
        lines = []
        for name, eq in Equations(equations).items():
            text = f"{eq.expr}" if eq.expr is not None else ""
            if text and _calls(text, "eval"):
                changed = _Redrawn(every, offset)
                text, offset = changed.text(text, "eval"), changed.offset
            lines.append(_line(name, eq, text))
        texts = []
        for text in (threshold, reset):
            changed = _Redrawn(every, offset)
            texts.append(changed.text(text, "exec") if text and _calls(text, "exec") else text)
            offset = changed.offset
        return Texts("\n".join(lines) + "\n", *texts)


def _line(name: str, eq: Any, expression: str) -> str:
    """Return an equation as text."""
    from brian2.equations.equations import DIFFERENTIAL_EQUATION, SUBEXPRESSION

    unit = _unit(eq, name)
    flags = f" ({', '.join(eq.flags)})" if eq.flags else ""
    if eq.type == DIFFERENTIAL_EQUATION:
        return f"d{name}/dt = {expression} : {unit}{flags}"
    if eq.type == SUBEXPRESSION:
        return f"{name} = {expression} : {unit}{flags}"
    if eq.var_type != "float":
        return f"{name} : {eq.var_type}{flags}"
    return f"{name} : {unit}{flags}"


def variable_units(equations: str, names: Sequence[str]) -> dict[str, str]:
    """Return the units of real variables of equations, in Brian2's language; names that are none are left out."""
    import_brian()
    from brian2 import Equations

    own = Equations(equations)
    found = {}
    for name in names:
        if name in own and own[name].var_type == "float":
            found[name] = _unit(own[name], name)
    return found


def variable_names(equations: str) -> list[str]:
    """Return the variables of equations that hold values: differential ones and parameters, those for summing aside."""
    import_brian()
    from brian2 import Equations

    own = Equations(equations)
    return [*own.diff_eq_names, *own.parameter_names]


def has_events(equations: str) -> bool:
    """Return whether some differential equation is event-driven."""
    import_brian()
    from brian2 import Equations

    return any("event-driven" in eq.flags for eq in Equations(equations).values())


def _unit(eq: Any, name: str) -> str:
    from brian2.units.fundamentalunits import DIMENSIONLESS, Quantity

    return "1" if eq.dim is DIMENSIONLESS else in_si(Quantity(1.0, dim=eq.dim), name).unit


def redrawn(text: str, *, every: int, first: int, stream: str) -> str:
    """Return statements whose calls of ``rand()`` and ``randn()`` draw from `stream`, at counters from `first` on."""
    return _Redrawn(every, first, stream).text(text, "exec") if text and _calls(text, "exec") else text


def restored(text: str) -> str:
    """Return statements whose draws from a stream are calls of ``rand()`` and ``randn()`` again."""
    return _written(_Restored().visit(_tree(text, "exec"))) if "_draw(stream" in text else text


def restored_equations(equations: str, left_out: Collection[str] = ()) -> str:
    """Return equations whose draws from a stream are calls again, without some variables."""
    if "_draw(stream" not in equations and not left_out:
        return equations
    import_brian()
    from brian2 import Equations

    lines = []
    for name, eq in Equations(equations).items():
        if name not in left_out:
            text = f"{eq.expr}" if eq.expr is not None else ""
            if "_draw(stream" in text:
                text = _written(_Restored().visit(_tree(text, "eval")))
            lines.append(_line(name, eq, text))
    return "\n".join(lines) + "\n"


def with_own_names(equations: str, others: Sequence[str]) -> Renamed:
    """Return equations of synapses without the names that the equations of their ends have.

    Brian2 refuses those: ``x`` of synapses whose neurons have an ``x`` becomes ``x_syn``.
    """
    import_brian()
    from brian2 import Equations

    own = Equations(equations)
    taken = {name for text in others for name in Equations(text).names}
    summed = {name for name, eq in own.items() if "summed" in eq.flags}
    names = {}
    for name in own.names:
        if name in taken and name not in summed:
            free = (f"{name}_syn{k or ''}" for k in range(len(taken) + len(own) + 1))
            names[name] = next(new for new in free if new not in taken and new not in own.names)
    if not names:
        return Renamed(equations, names)
    changed = Equations(equations, **names)
    lines = [_line(name, eq, f"{eq.expr}" if eq.expr is not None else "") for name, eq in changed.items()]
    return Renamed("\n".join(lines) + "\n", names)


def with_names(text: str, names: Mapping[str, str]) -> str:
    """Return statements in which variables have other names."""
    if not names:
        return text
    import_brian()
    from brian2.utils.stringtools import word_substitute

    return str(word_substitute(text, names))


def count_calls(text: str) -> int:
    """Return the number of calls of ``rand()`` and ``randn()`` in statements."""
    return _calls(text, "exec") if text else 0


def _tree(text: str, mode: str) -> ast.AST:
    plain = "\n".join(part.strip() for part in text.replace(";", "\n").splitlines())
    return ast.parse(plain if mode == "exec" else plain.replace("\n", " "), mode=mode)


def _written(tree: ast.AST) -> str:
    """Return code as text; what follows ``*=`` and its like stands in brackets, without which Brian2 refuses a sum."""
    if not isinstance(tree, ast.Module):
        return ast.unparse(tree)
    lines = []
    for line in tree.body:
        text = ast.unparse(line)
        if isinstance(line, ast.AugAssign):
            value = ast.unparse(line.value)
            text = f"{text.removesuffix(value)}({value})"
        lines.append(text)
    return "\n".join(lines)


def _calls(text: str, mode: str) -> int:
    return sum(map(_is_draw, ast.walk(_tree(text, mode)))) if text else 0


def _is_draw(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _DRAWS


class _Redrawn(ast.NodeTransformer):
    """Rewriting of calls, each at a counter of its own."""

    def __init__(self, every: int, offset: int, stream: str = "stream") -> None:
        self.every, self.offset, self.stream = every, offset, stream

    def text(self, text: str, mode: str) -> str:
        """Return the text rewritten."""
        return _written(self.visit(_tree(text, mode)))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Rewrite one call."""
        self.generic_visit(node)
        if not _is_draw(node):
            return node
        assert isinstance(node.func, ast.Name)
        counter = f"{self.every}*t_in_timesteps + {self.offset}"
        self.offset += 1
        return ast.parse(f"{_DRAWS[node.func.id]}({self.stream}, {counter})", mode="eval").body


class _Restored(ast.NodeTransformer):
    """Undoing what `_Redrawn` does."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Restore one call."""
        self.generic_visit(node)
        if isinstance(node.func, ast.Name):
            for call, draw in _DRAWS.items():
                if node.func.id == draw:
                    return ast.parse(f"{call}()", mode="eval").body
        return node


# What an object that Brian2 makes for a group does, by the end of its name.
_DOES = {
    "thresholder": "the threshold of",
    "resetter": "the reset of",
    "pre": "what a spike of the source does in",
    "post": "what a spike of the target does in",
}
_LONGEST_REASON = 300  # characters


@contextmanager
def plain_errors(plan: Plan, network: Any) -> Iterator[None]:
    """Turn what Brian2 says of equations, as it prepares a run, into a `ValueError` of a few lines.

    Raises
    ------
    ValueError
        If units do not match, or equations, threshold, reset or method cannot be used: it says whose.
    """
    from brian2.core.base import BrianObjectException
    from brian2.stateupdaters.base import UnsupportedEquationsException
    from brian2.units.fundamentalunits import DimensionMismatchError

    known = (DimensionMismatchError, UnsupportedEquationsException, TypeError, ValueError, KeyError, SyntaxError)
    try:
        yield
    except BrianObjectException as error:
        if not isinstance(error.__cause__, known):
            raise
        text = f"{_where(error._brian_objname, plan)} cannot be simulated.\n{_reason(error.__cause__)}"
        if isinstance(error.__cause__, DimensionMismatchError):
            text += "\nCheck the units of the equations and of the parameters"
        for own in network.objects:  # Brian2 would warn of each that has not been run
            own._network = own._network or network.id
        raise ValueError(text) from None


def _reason(error: BaseException) -> str:
    # Two slips of Brian2 are mended.
    text = str(error).replace("%Expression", "Expression").replace("the name '{method}'", "this name")
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # as text it would stand in quotes
        if text.isidentifier():
            text = f"There is no variable {text!r}"
        elif "could not be resolved" in text:
            text += " Give it in `parameters`, or name a variable"
    return textwrap.shorten(text, _LONGEST_REASON, placeholder=" …")


def _where(name: str, plan: Plan) -> str:
    """Return what an object of Brian2 stands for."""
    owners = [*plan.groups, *plan.synapses]
    owner = max((own for own in owners if name == own or name.startswith(f"{own}_")), key=len, default=name)
    labels = {group: population for population, group in plan.populations.items()}
    kind = name.removeprefix(owner).rpartition("_")[2]
    what = _DOES.get(kind, "the equations of")
    if kind == "stateupdater" and owner in plan.groups:
        what = f"the state update (method {plan.groups[owner].method!r}) of"
    return f"{what} {labels.get(owner, owner)!r}"
