"""A call of Snakemake in a folder, of which one at a time goes on."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryokin.errors import INTERRUPTED, InputError
from cryokin.yaml_files import read_yaml

#: Snakemake's own lines are left out; those of the workflow tell what matters.
QUIET = ("--quiet", "all")


def workflow_folder() -> Path:
    """Return the folder of the Snakefile: beside the package, or installed with it.

    Raises
    ------
    InputError
        If there is none.
    """
    places = (
        Path(__file__).resolve().parents[3],
        Path(sysconfig.get_path("data"), "share/cryokin"),
    )
    for place in places:
        if (place / "Snakefile").is_file():
            return place
    raise InputError(
        f"{places[1]}: there is no Snakefile; install the package anew, by pip install."
    )


def call_snakemake(
    directory: Path,
    config: Path | None,
    profile: str,
    targets: Sequence[str],
    verbose: bool = False,
) -> int:
    """Run the workflow and return its exit status.

    A configuration that cannot be read is refused here, with file and line. While the
    call goes on it holds a lock of the operating system; Snakemake's own lock, which
    outlives a call that was killed, is removed when it is of such a call.

    Raises
    ------
    InputError
        If the configuration cannot be read, or another call is at work in the folder.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: there is no such folder; make it first.")
    read_yaml(config if config else directory / "config/config.yaml")
    root = workflow_folder()
    named = _profile(profile, root / "profiles")
    words = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")),
        # It may be several, and would take targets behind it for more of them.
        *(() if config is None else ("--configfile", str(config))),
        *("--directory", str(directory)),
        *("--profile", str(named)),
    ]
    with _held(directory / ".snakemake/cryokin") as killed:
        if killed:
            subprocess.run([*words, "--unlock"], stderr=subprocess.DEVNULL, check=False)
        # Behind the targets: the option would take them for its values.
        return _wait([*words, *targets, *(() if verbose or asks(targets) else QUIET)])


def asks(words: Sequence[str]) -> bool:
    """Whether the answer of Snakemake itself is what is wanted, as of a dry run."""
    return bool(
        {"-n", "--dry-run", "--dryrun", "--dag", "--rulegraph", "--list"} & set(words)
    )


def _profile(name: str, own: Path) -> Path:
    """Return the folder of a profile: its own, one of the workflow's, or the user's.

    Raises
    ------
    InputError
        If there is none.
    """
    if (own / name).is_dir():
        return own / name
    users = Path(os.environ.get("XDG_CONFIG_HOME", "~/.config")).expanduser()
    for folder in (Path(), users / "snakemake", Path("/etc/xdg/snakemake")):
        if (folder / name).is_dir():
            return folder / name
    known = ", ".join(
        sorted(folder.name for folder in own.iterdir() if folder.is_dir())
    )
    raise InputError(
        f"--profile {name}: there is no such profile, here or in {own}; give {known} or"
        " the folder of your own."
    )


def _wait(words: Sequence[str]) -> int:
    """Run a command; leave it to itself what Ctrl-C, which it gets as well, means."""
    interrupts: list[int] = []
    process = subprocess.Popen(words)
    before = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return INTERRUPTED if interrupts and status else status


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Hold a lock while a call goes on; yield whether the call before was killed.

    The file holds a word as long as a call is at work: that it is there while nobody
    holds the lock means that the call did not end by itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{path.parent.parent.absolute()}: another call of cryokin is at work"
                " in this folder; wait until it ends, or give --directory."
            ) from error
        killed = bool(file.read())
        file.seek(0)
        file.write("at work\n")
        file.flush()
        yield killed
        file.truncate(0)
