"""What must hold with any linear algebra holds with that of other processors, too.

All of the tests with one of them: ``make test KERNEL=Haswell``.
"""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

KERNELS = ("Haswell", "SkylakeX")  # products by AVX2 and by AVX-512
#: Where sums that round in another way would show first: bits are compared, and classes
#: follow from many choices.
SENSITIVE = ("isac_generation", "isac_prealign", "pytom_ccc", "pytom_reproducible")
LAWS = "same_bytes or tiles or distinct_particles or reproduced"


def core(kernel=None):
    """Return the kernel that OpenBLAS takes, if some is asked for."""
    asked = {"OPENBLAS_CORETYPE": kernel} if kernel else {}
    done = subprocess.run(
        [sys.executable, "-c", "import numpy"],
        env=os.environ | asked | {"OPENBLAS_VERBOSE": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr.removeprefix("Core: ").strip()


@pytest.mark.parametrize("kernel", KERNELS)
def test_laws_hold_with_the_kernel_of_another_processor(root, kernel):
    if kernel == core():
        pytest.skip("it is the one that all tests run with")
    if kernel != core(kernel):
        pytest.skip("this processor does not have it")
    modules = [f"tests/test_{name}.py" for name in SENSITIVE]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-k", LAWS, *modules],
        cwd=root,
        env=os.environ | {"OPENBLAS_CORETYPE": kernel},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
