"""Run a script by its name: the function in it of that name, with what follows."""

import sys
from importlib import import_module

from cryokin.script import run

if __name__ == "__main__":
    name = sys.argv[1]
    run(getattr(import_module(name), name), sys.argv[2:])
