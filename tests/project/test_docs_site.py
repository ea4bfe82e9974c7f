"""The site builds without warnings and without network, loads nothing from elsewhere, and describes every public name."""

import ast
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import mnnbio

ROOT = Path(__file__).parents[2]
PAGES = SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "pages.py")))
# A build that opens a connection fails.
OFFLINE = """
import socket, sys
def refuse(*args, **kwargs):
    raise RuntimeError("the site is built without network")
socket.socket.connect = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", OFFLINE, "build", "--strict", "--site-dir", str(out)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr
    return out


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site):
    tags = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(https?:)?//", re.IGNORECASE)
    canonical = re.compile(r"<link[^>]*rel=[\"']?(?:canonical|icon)")
    for path in site.rglob("*.html"):
        found = [
            tag.group() for tag in tags.finditer(path.read_text(encoding="utf-8")) if not canonical.match(tag.group())
        ]
        assert not found, f"{path.name}: {found[:3]}"
    for path in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?:", path.read_text(encoding="utf-8")), path


@pytest.mark.slow
def test_the_reference_describes_every_public_name(site):
    for room, page in PAGES.ROOMS.items():
        html = (site / "api" / f"{page}.html").read_text(encoding="utf-8")
        missing = [name for name, home in PAGES.offered(room).items() if f'id="{home}"' not in html]
        assert not missing, f"{room}: {missing}"
    html = (site / "api" / "mnnbio.html").read_text(encoding="utf-8")
    assert not [name for name in mnnbio.__all__ if f"<code>{name}</code>" not in html]


@pytest.mark.slow
def test_tutorials_show_their_figures(site):
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        html = (site / "tutorials" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        shown = re.findall(rf'src="({notebook.stem}_\d+\.png)"', html)
        assert shown
        assert all((site / "tutorials" / name).stat().st_size > 1000 for name in shown)


def test_every_room_has_a_page():
    rooms = {
        path.name.removesuffix(".py") for path in (ROOT / "mnnbio").iterdir() if not path.name.startswith(("_", "py"))
    }
    assert set(PAGES.ROOMS) == rooms


def test_what_a_room_offers_is_read_without_importing_it():
    assert PAGES.offered("values")["Steps"] == "mnnbio.values.Steps"
    assert PAGES.offered("theory")["predict"] == "mnnbio.theory.predict.predict"
    assert PAGES.offered("workflow")["run_sweep"] == "mnnbio.workflow.sweep_driver.run_sweep"
    assert set(PAGES.offered("circuits")) == set(__import__("mnnbio.circuits").circuits.__all__)


def test_links_of_files_at_the_root_become_those_of_the_site():
    text = (
        "[a](docs/circuits.md) [b](notebooks/01_x.ipynb) [c](CHANGELOG.md) [d](docs/rates.png) [e](https://x.org/docs/)"
    )
    expected = "[a](circuits.md) [b](tutorials/01_x.md) [c](changelog.md) [d](rates.png) [e](https://x.org/docs/)"
    assert PAGES.of_root(text) == expected


def test_notebooks_become_pages(tmp_path):
    import nbformat

    cell = nbformat.v4.new_code_cell("x")
    cell.outputs = [
        nbformat.v4.new_output("stream", text="\x1b[31mred\x1b[0m\n"),
        nbformat.v4.new_output("display_data", data={"image/png": "aGVsbG8=", "text/plain": "<Figure>"}),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title\n\n[a](../docs/a.md)"), cell])
    nbformat.write(notebook, tmp_path / "demo.ipynb")
    text, pictures = PAGES.tutorial(tmp_path / "demo.ipynb")
    assert text == "# Title\n\n[a](../a.md)\n\n```python\nx\n```\n\n```text\nred\n```\n\n![Title](demo_1.png)\n"
    assert pictures == {"demo_1.png": b"hello"}


def test_pictures_are_small():
    pictures = [path for path in (ROOT / "docs").rglob("*") if path.suffix in (".png", ".svg", ".jpg")]
    assert sum(path.stat().st_size for path in pictures) < 1_500_000
    drawn = ast.parse((ROOT / "docs/gallery/draw.py").read_text(encoding="utf-8"))
    names = {node.name.removeprefix("draw_") for node in drawn.body if isinstance(node, ast.FunctionDef)}
    assert {path.stem for path in (ROOT / "docs/gallery").glob("*.png")} <= names


def test_the_gallery_shows_every_ready_circuit():
    page = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    for name in set(PAGES.offered("circuits")) - {"downscaled", "memory_neurons"}:
        assert f"`{name}(" in page, name
        assert f"gallery/{name}.png" in page, name
        assert (ROOT / "docs" / "gallery" / f"{name}.png").is_file()


def test_the_page_of_rooms_says_what_the_table_of_imports_says():
    from test_rooms import MAY_IMPORT

    page = (ROOT / "docs/rooms.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `mnnbio\.(\w+)` \|.*\| (.*) \|$", page, flags=re.MULTILINE))
    assert set(rows) == set(MAY_IMPORT)
    for room, allowed in MAY_IMPORT.items():
        named = {"–": set(), "all": set(MAY_IMPORT) - {room}}.get(rows[room], set(rows[room].split(", ")))
        assert named == allowed, room


def test_docstrings_become_markdown():
    rst = SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "rst.py")))
    formula = rst.markdown(
        "It is\n:math:`r_0` here, H\\ :sub:`2`.\n\n.. math::\n    a = \\frac{b}{c}\n\nAs in [1]_.\n\n.. [1] Cox."
    )
    assert "here, H<sub>2</sub>.\n\n<math" in formula
    assert "&#8288;<math" in formula
    assert "<mfrac><mrow><mi>b</mi></mrow><mrow><mi>c</mi></mrow></mfrac>" in formula
    assert formula.endswith("As in [1].\n\n[1] Cox.")
    table = "Rates:\n\n  ===== ====\n  panel g\n  ===== ====\n  A     3\n  B\n  ===== ====\n"
    assert rst.markdown(table) == "Rates:\n\n  | panel | g |\n  |---|---|\n  | A | 3 |\n  | B |  |\n"


@pytest.mark.slow
def test_no_markup_is_left_in_the_reference(site):
    for path in (site / "api").glob("*.html"):
        text = re.sub(r"<[^>]+>", "", path.read_text(encoding="utf-8"))
        assert not re.findall(r":math:|:sub:|\.\. math|\.\. \[\d|={5,}", text), path.name
