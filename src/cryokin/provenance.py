"""What made a result: versions of the software, the seed, checksums of the inputs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

CODE = Path(__file__).parent
PACKAGES = ("cryokin", "numpy", "scipy", "h5py", "mpi4py")


def provenance(
    seed: int | None, inputs: Iterable[str | os.PathLike[str]]
) -> dict[str, Any]:
    """Describe the software and the inputs of a run.

    Holds no time and no host name: the same software on the same inputs gives the
    same description, so that it may be written into files whose bytes are compared.

    Parameters
    ----------
    seed : int or None
        The user's ``rand_seed``.
    inputs : iterable of path-like
        Files to identify by their checksum; each is read whole, once.

    Returns
    -------
    dict
        ``seed``; ``versions`` {name: version or None if not installed};
        ``machine`` {system, processor}; ``inputs`` [{path, sha256}].

    Raises
    ------
    OSError
        If an input cannot be read.
    """
    return {
        "seed": seed,
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in PACKAGES},
        },
        "machine": {"system": platform.system(), "processor": platform.machine()},
        "inputs": [{"path": str(path), "sha256": sha256(path)} for path in inputs],
    }


def provenance_of_run(
    options: Mapping[str, Any], imported: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe a run by its options and its import, which knows the checksum.

    Parameters
    ----------
    options : mapping
        ``rand_seed`` of the run.
    imported : mapping
        ``source`` and ``sha256``, if the particles are known, as in ``import.json``.
    """
    described = provenance(options.get("rand_seed"), [])
    if "source" in imported:
        source = {"path": imported["source"], "sha256": imported["sha256"]}
        described["inputs"] = [source]
    return described


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 checksum of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(settings: Any, files: Iterable[str | os.PathLike[str]]) -> str:
    """Return a name for all that a result depends on: this software, too.

    Parameters
    ----------
    settings : Any
        Whatever JSON can tell.
    files : iterable of path-like
        Their contents count, not their names.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    code = sorted(CODE.rglob("*.py"))
    contents = [sha256(path) for path in (*code, *files)]
    versions = [_version(name) for name in PACKAGES]
    text = json.dumps([settings, contents, versions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _version(package: str) -> str | None:
    """Version from the package's metadata: importing mpi4py would start MPI."""
    if package == "cryokin":
        # A checkout that is on the path but not installed has no metadata.
        from cryokin import __version__

        return __version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
