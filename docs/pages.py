"""Pages of the site that are made from other files: start page, tutorials, reference, changes.

MkDocs calls the functions named `on_...` (its hooks); `mkdocs.yml` names this file. Nothing is written into `docs/`.
"""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Rooms in the order of a first visit, and the page of each (`circuit` and `circuits` would be hard to tell apart).
ROOMS = {
    "circuit": "circuit",
    "neurons": "neurons",
    "synapses": "synapses",
    "values": "values",
    "units": "units",
    "machine": "machine",
    "theory": "theory",
    "moments": "moments",
    "spikes": "spikes",
    "formats": "formats",
    "nn": "nn",
    "training": "training",
    "exporting": "exporting",
    "results": "results",
    "analyses": "analyses",
    "validation": "validation",
    "learning": "learning",
    "circuits": "ready",
    "workflow": "workflow",
}
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made from files outside `docs/`."""

    def add(path: str, content: str | bytes) -> None:
        files.append(File.generated(config, path, content=content))

    add("index.md", of_root((ROOT / "README.md").read_text(encoding="utf-8")))
    add("changelog.md", of_root((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))
    add("contributing.md", of_root((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    add("CITATION.cff", (ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    titles = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, pictures = tutorial(path)
        add(f"tutorials/{path.stem}.md", text)
        for name, content in pictures.items():
            add(f"tutorials/{name}", content)
        title, summary = text.split("\n\n")[:2]
        titles.append(f"## [{title.removeprefix('# ')}]({path.stem}.md)\n\n{summary}\n")
    add("tutorials/index.md", "# Tutorials\n\nNotebooks, executed with the outputs shown.\n\n" + "\n".join(titles))
    for room, page in ROOMS.items():
        add(f"api/{page}.md", reference(room))
    add("api/mnnbio.md", top_level())
    add("api/index.md", contents())
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links from `docs/` to files beside it into links to their pages."""
    if page.file.generated_by:
        return markdown
    markdown = re.sub(r"\]\(\.\./notebooks/([\w-]+)\.ipynb\)", r"](tutorials/\1.md)", markdown)
    return markdown.replace("](../README.md", "](index.md").replace("](../CHANGELOG.md", "](changelog.md")


def of_root(text: str) -> str:
    """Return the Markdown of a file at the root with links as they are on the site."""
    text = re.sub(r"\]\(notebooks/([\w-]+)\.ipynb\)", r"](tutorials/\1.md)", text).replace("](docs/", "](")
    for name in ("CHANGELOG", "CONTRIBUTING"):
        text = text.replace(f"]({name}.md", f"]({name.lower()}.md")
    return text.replace("](README.md", "](index.md")


def tutorial(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return an executed notebook as Markdown, and its pictures by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source.replace("](../docs/", "](../"))
        elif cell.cell_type == "code":
            parts.append(fenced(cell.source, "python"))
            for output in cell.outputs:
                if "text" in output:
                    parts.append(fenced(output.text, "text"))
                data = output.get("data", {})
                if "image/png" in data:
                    name = f"{path.stem}_{len(pictures) + 1}.png"
                    pictures[name] = base64.b64decode(data["image/png"])
                    parts.append(f"![{caption(parts)}]({name})")
                elif "text/markdown" in data:
                    parts.append(data["text/markdown"])
                elif "text/plain" in data:
                    parts.append(fenced(data["text/plain"], "text"))
    return "\n\n".join(parts) + "\n", pictures


def caption(parts: list[str]) -> str:
    """Return the last heading before a picture, as the text of those who do not see it."""
    headings = re.findall(r"^#+ (.*)$", "\n".join(part for part in parts if not part.startswith("```")), re.MULTILINE)
    return headings[-1] if headings else "Figure"


def fenced(text: str, language: str) -> str:
    """Return text as a block of code."""
    return f"```{language}\n{ANSI.sub('', text).rstrip()}\n```"


def source_of(module: str) -> ast.Module:
    """Return the parsed source of a module of the package; nothing is imported."""
    place = ROOT / ".editable" / Path(*module.split("."))
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> dict[str, str]:
    """Return the full names of what a module imports from others, by the name it has there."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def definition(name: str) -> tuple[str, ast.AST | None]:
    """Return where a full name is defined, as a full name, and its function or class; None for a constant."""
    module, _, own = name.rpartition(".")
    tree = source_of(module)
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == own:
            return name, node
    elsewhere = imported(tree)
    return definition(elsewhere[own]) if own in elsewhere else (name, None)


@cache
def offered(room: str) -> dict[str, str]:
    """Return what a room offers, name by name, with the full name of where it is defined."""
    module = f"mnnbio.{room}"
    tree = source_of(module)
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            home = imported(tree)
            found |= {name: home.get(name, f"{module}.{name}") for name in ast.literal_eval(node.value)}
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):  # lazy_loader.attach(...)
            for keyword in node.value.keywords:
                for part, names in ast.literal_eval(keyword.value).items() if keyword.arg == "submod_attrs" else ():
                    found |= {name: f"{module}.{part}.{name}" for name in names}
    if not found:  # a room of one file offers what it defines
        kinds = ast.ClassDef | ast.FunctionDef
        found = {n.name: f"{module}.{n.name}" for n in tree.body if isinstance(n, kinds) and n.name[0] != "_"}
    return {name: definition(found[name])[0] for name in sorted(found)}


def described(room: str) -> str:
    """Return the docstring of a room."""
    return ast.get_docstring(source_of(f"mnnbio.{room}")) or ""


def summary(name: str) -> str:
    """Return the first line of the docstring of a full name."""
    node = definition(name)[1]
    text = ast.get_docstring(node) if isinstance(node, ast.ClassDef | ast.FunctionDef) else ""
    return (text or "").partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def reference(room: str) -> str:
    """Return the page of a room: its description, then everything it offers."""
    entries = "\n\n".join(f"::: {home}" for home in offered(room).values())
    return f"# mnnbio.{room}\n\n{described(room)}\n\n{entries or 'It offers no public name of its own.'}\n"


def public() -> Iterator[tuple[str, str]]:
    """Yield the public names of `mnnbio` and the rooms that they come from, as its stub says."""
    for node in ast.parse((ROOT / "mnnbio/__init__.pyi").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, str(node.module).split(".")[0]) for alias in node.names)


def top_level() -> str:
    """Return the page of `mnnbio` itself."""
    rows = []
    for name, room in sorted(public()):
        home = offered(room).get(name) or definition(f"mnnbio.{room}.{name}")[0]
        rows.append(f"| [`{name}`][{home}] | {summary(home)} | [`mnnbio.{room}`]({ROOMS[room]}.md) |")
    head = "# mnnbio\n\nWhat most scripts need, importable from `mnnbio`; `mnnbio.__version__` is the version.\n\n"
    return head + "| name | what it is | room |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def contents() -> str:
    """Return the page that names all rooms."""
    rows = [
        f"| [`mnnbio.{room}`]({page}.md) | {described(room).splitlines()[0]} | {len(offered(room))} |"
        for room, page in ROOMS.items()
    ]
    return (
        "# Reference\n\nMade from the docstrings. Times are in ms, voltages in mV, rates in spikes/ms unless a Brian2 "
        "quantity says otherwise; results are in Hz and seconds.\n\n| room | what it holds | names |\n|---|---|---|\n"
        f"| [`mnnbio`](mnnbio.md) | the names that most scripts need | {len(list(public()))} |\n"
        + "\n".join(rows)
        + "\n\nHow the rooms depend on each other: [Rooms](../rooms.md).\n"
    )
