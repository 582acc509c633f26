"""`python -m lattice_diffusion`: the command line, as under `mpiexec`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
