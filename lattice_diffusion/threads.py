"""One thread per process: points run in parallel, and sums must not depend on how BLAS splits them."""

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
# Read by NumPy and numba when they are first imported, so to be set before that, or for child processes.
ONE_THREAD = dict.fromkeys(_VARIABLES, "1")
