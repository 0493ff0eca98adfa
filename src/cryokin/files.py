"""Outputs appear whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryokin.errors import InputError

if TYPE_CHECKING:
    from cryokin.parallel import Team


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` on success.

    A reader, or a run that is killed, never sees half a file. The name holds the
    process id, so a process left over from a killed run cannot spoil its successor's
    file, and it keeps the suffix, because some writers look at it. What killed ones
    were about to write is removed.

    Parameters
    ----------
    path : path-like
        The final name; its folder is made when it is missing.

    Yields
    ------
    pathlib.Path
        Where to write.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{final.stem}.{os.getpid()}.part{final.suffix}")
    for left in _partials(final):
        left.unlink(missing_ok=True)
    try:
        yield partial
        _settle(partial)
        os.replace(partial, final)
    finally:
        partial.unlink(missing_ok=True)


def _partials(final: Path) -> list[Path]:
    """Return the temporary names beside a file that any process gave it."""
    name = re.compile(rf"\.{re.escape(final.stem)}\.\d+\.part{re.escape(final.suffix)}")
    return [path for path in final.parent.iterdir() if name.fullmatch(path.name)]


def _settle(path: Path) -> None:
    """Have a file on the disk, so that a power cut cannot leave its name alone."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder; on success it takes the place of ``path``."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    for left in final.parent.glob(f".{final.name}.*.part"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    partial = final.with_name(f".{final.name}.{os.getpid()}.part")
    partial.mkdir()
    try:
        yield partial
        # Whoever finds its folder gone must not take away the one that is there.
        complete = partial.rename(partial.with_name(f".{final.name}.complete.part"))
        shutil.rmtree(final, ignore_errors=True)
        complete.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def atomic_folder_for_team(team: Team, path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield one temporary folder to all ranks; rename it when all are done."""
    if not team.leads:
        yield team.from_leader(Path)
        team.barrier()
        return
    with atomic_folder(path) as partial:
        yield team.from_leader(lambda: partial)
        team.barrier()


def portable(path: str | os.PathLike[str], folder: str | os.PathLike[str] = ".") -> str:
    """Return a file's name as seen from a folder that it is in, else absolute.

    Names of this kind stay true when the folder is moved with all that is in it, and
    are the same however the file was named.

    Parameters
    ----------
    path : path-like
        The file, seen from the working folder.
    folder : path-like, optional
        Default: the working folder.
    """
    absolute, top = os.path.abspath(path), os.path.abspath(folder)
    inside = os.path.commonpath([absolute, top]) == top
    return os.path.relpath(absolute, top) if inside else absolute


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` to ``path`` as JSON, atomically and in a stable layout."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file that a rule wrote; raise `InputError` if it is broken off."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise broken_off(path, error) from error


def broken_off(path: str | os.PathLike[str], why: Exception) -> InputError:
    """Return what is said of a result that cannot be read, as no rule leaves one."""
    reason = " ".join(str(why).split())[:120] or type(why).__name__
    return InputError(
        f"{path}: is broken off or was changed ({reason}); delete it and say the same"
        " command again, which makes it anew."
    )


def write_ids(path: str | os.PathLike[str], ids: Any) -> None:
    """Write particle ids, one a line, in the manual's layout (``%12d``)."""
    write_text(path, "".join(f"  {int(i):12d}\n" for i in ids))


def read_ids(path: str | os.PathLike[str]) -> list[int]:
    """Read a list of particle ids written by `write_ids` (or one integer a line)."""
    return [int(line) for line in Path(path).read_text().split()]
