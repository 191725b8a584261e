"""`python3 tests ...`: makes `.venv` with the test extra on first use, then runs the tests in it."""

import os
import sys

# The root, not this folder, goes on the path: `python3 tests` would put the folder there.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - as old Pythons can

from compose.python_version import refuse_old  # noqa: E402 - the path comes first

refuse_old()

from compose.bootstrap import run  # noqa: E402 - an old Python cannot read it

if __name__ == "__main__":
    run("tests.runner", sys.argv[1:], lock="test")
