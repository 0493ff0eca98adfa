"""Where arrays are computed: by NumPy on the processor, or on a device beside it.

Kernels take their functions from the arrays that they are given (the array API
standard, through array-api-compat): there is one of each, for NumPy, PyTorch and CuPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from array_api_compat import (
    array_namespace,
    device,
    is_cupy_array,
    is_torch_array,
    to_device,
)
from numpy.typing import ArrayLike, NDArray

from cryokin.errors import InputError

#: What a profile may call a device: the package, and how that calls it.
NAMES = {
    "cpu": ("numpy", "cpu"),
    "cuda": ("torch", "cuda"),
    "cupy": ("cupy", "cuda"),
    "torch-cpu": ("torch", "cpu"),
}


def beside(values: ArrayLike, array: Any) -> Any:
    """Return values as an array of the kind of another, on the same device."""
    if isinstance(array, np.ndarray):
        return np.asarray(values)
    return array_namespace(array).asarray(values, device=device(array))


def write(array: Any, index: Any, function: Callable[..., Any], *operands: Any) -> None:
    """Write what a function returns into part of an array.

    The standard knows no ``out``, with which NumPy spares a copy.
    """
    if isinstance(array, np.ndarray):
        function(*operands, out=array[index])
    else:
        array[index] = function(*operands)


def on_host(array: Any) -> NDArray[Any]:
    """Return an array of any kind as one of NumPy."""
    if isinstance(array, np.ndarray):
        return array
    leaves = is_torch_array(array) or is_cupy_array(array)
    return np.asarray(to_device(array, "cpu") if leaves else array)


@dataclass(frozen=True)
class Device:
    """What compares images with references.

    Attributes
    ----------
    name : str
        One of `NAMES`.
    like : array, optional
        An array on the device; None: the processor, with NumPy.
    """

    name: str = "cpu"
    like: Any = None

    @property
    def is_host(self) -> bool:
        """Whether it is the processor, whose results are the ones that count."""
        return self.like is None

    def put(self, array: NDArray[Any]) -> Any:
        """Return an array of NumPy on the device."""
        return array if self.is_host else beside(array, self.like)


HOST = Device()


def open_device(name: str, rank: int = 0) -> Device:
    """Return a device by its name; of several GPUs of a node, ranks take turns.

    Raises
    ------
    InputError
        If there is none of that name, or its package or the GPU is missing.
    """
    if name not in NAMES:
        raise InputError(
            f"the resource device of the profile is {name}, allowed are"
            f" {', '.join(NAMES)}; leave it out to compute without a GPU."
        )
    package, kind = NAMES[name]
    if package == "numpy":
        return HOST
    try:
        library = import_module(package)
    except ImportError:
        raise InputError(
            f"the resource device of the profile is {name}, but {package} is not"
            f" installed; say pip install 'cryokin[gpu]', or leave device out to"
            " compute without a GPU."
        ) from None
    count = 1 if kind == "cpu" else _count(library)
    if not count:
        raise InputError(
            f"the resource device of the profile is {name}, but {package} finds no GPU"
            " on this node; ask the scheduler for one (gres), or leave device out to"
            " compute without."
        )
    if package == "cupy":
        library.cuda.Device(rank % count).use()
        return Device(name, library.zeros(1, library.float32))
    # All 24 bits of the products, and the same ones each time.
    library.set_float32_matmul_precision("highest")
    library.set_num_threads(1)
    place = kind if kind == "cpu" else f"{kind}:{rank % count}"
    return Device(name, library.zeros(1, device=place))


def _count(library: Any) -> int:
    """Return the number of GPUs that PyTorch or CuPy finds."""
    if library.__name__ == "torch":
        return int(library.cuda.device_count())
    try:
        return int(library.cuda.runtime.getDeviceCount())
    except library.cuda.runtime.CUDARuntimeError:
        return 0
