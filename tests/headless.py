"""Pages as a browser without a screen renders them: Chromium, where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

_PROBE = """<script>
window.addEventListener("load", () => {
  const images = [...document.images];
  const result = document.createElement("pre");
  result.id = "probe";
  const first = [...document.body.children].find(e => e.tagName !== "H1");
  const requested = performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:"));
  result.textContent = JSON.stringify({first: first.id, images: images.length,
    broken: images.filter(i => !(i.complete && i.naturalWidth > 0)).length, requested});
  document.body.append(result);
});
</script></body>"""


class Rendered(NamedTuple):
    first: str  # id of the first element after the heading
    images: int
    broken: int
    requested: list[str]


def require_chromium() -> str:
    """Return the command, or skip the test."""
    command = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if command is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    return command


def rendered(page: Path, folder: Path) -> Rendered:
    """Return what a browser finds on a page, whose copy asks it."""
    import json

    probed = folder / "probed.html"
    probed.write_text(page.read_text(encoding="utf-8").replace("</body>", _PROBE), encoding="utf-8")
    command = [
        require_chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--virtual-time-budget=10000", f"--user-data-dir={folder / 'browser'}", "--dump-dom", probed.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    (found,) = re.findall(r'<pre id="probe">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    return Rendered(**json.loads(found.replace("&amp;", "&")))
