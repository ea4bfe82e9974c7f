"""C++ programs that Brian2 writes by itself, whose headers are compiled once instead of with every file."""

import subprocess
from pathlib import Path

_HEADERS = """#include "objects.h"
#include "brianlib/common_math.h"
#include <climits>
#include <cmath>
#include <ctime>
#include <fstream>
#include <iostream>
"""
_RULES = """
OPTIMISATIONS += -O1
$(OBJS): headers.h.gch
$(OBJS): CXXFLAGS += -include headers.h
headers.h.gch: headers.h
\t$(CXX) $(CXXFLAGS) -x c++-header $< -o $@
"""


def build_and_run(device, folder: Path) -> None:
    """Build the network of Brian2's standalone device in a folder and run it."""
    device.build(directory=str(folder), compile=False, run=False, with_output=False)
    (folder / "headers.h").write_text(_HEADERS)
    with (folder / "makefile").open("a") as makefile:
        makefile.write(_RULES)
    subprocess.run(["make", "-j2", "DEPS="], cwd=folder, check=True, capture_output=True)
    device.run(str(folder), with_output=False)
