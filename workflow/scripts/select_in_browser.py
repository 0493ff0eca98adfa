import atexit
import getpass
import os
import shlex
import socket
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from cryokin.errors import InputError
from cryokin.files import read_json
from cryokin.provenance import sha256
from cryokin.report.members import SlabMembers, read_members
from cryokin.report.pytom_files import read_labels
from cryokin.report.server import SelectionServer, Sheets, page_data
from cryokin.script import run as run_script
from cryokin.selection import selection_path
from cryokin.subtomo.files import load_placed
from cryokin.yaml_files import read_yaml


def selection_file(config: Path, run: str) -> Path:
    """Return where the selection of a run stands, as its configuration may say."""
    found: Any = read_yaml(config) if config.is_file() else None
    for key in ("runs", run, "selection"):
        found = found.get(key) if isinstance(found, dict) else None
    return Path(found) if isinstance(found, str) else selection_path(run)


def table_of_classes(results: Path) -> Path:
    """Return the table whose classes the report of a run shows."""
    names = ("classes.star", "merged/classes.json", "classes.json")
    tables = [results / name for name in names if (results / name).is_file()]
    page = results / "report/index.html"
    if not tables or not page.is_file():
        return results / names[0]
    checksum = page_data(page.read_text(encoding="utf-8")).get("checksum")
    return next((table for table in tables if sha256(table) == checksum), tables[0])


def members_of(results: Path, table: Path) -> Sheets | None:
    """Return what draws members of the classes in a table, where there are images."""
    imported = results / "import"
    if table.suffix == ".json":
        if not (results / "prepared/poses.npz").is_file():
            return None
        particles = load_placed(imported, results / "prepared/poses.npz")
        labels = read_labels(table.with_name("classes.csv"))[particles.ids]
        return None if particles.tomograms else SlabMembers(labels, particles).page
    stack, info = results / "working_stack.mrcs", results / "working_stack.json"
    poses = results / "classes.csv"
    if not (stack.is_file() and info.is_file() and poses.is_file()):
        return None
    shifts = results / "2dalignment/initial2Dparams.txt"
    told = read_json(imported / "import.json")
    return read_members(stack, info, poses, shifts, told).page


def show(url: str, folder: Path) -> None:
    """Open an address in a browser, without telling others of this machine.

    They see the command lines of all programs, but not into a file of the user's.
    """
    descriptor, name = tempfile.mkstemp(".html", ".open", folder)
    with open(descriptor, "w") as file:
        file.write(f'<meta http-equiv="refresh" content="0; url={url}">')
    atexit.register(Path(name).unlink, missing_ok=True)
    webbrowser.open(Path(name).absolute().as_uri())


def select_in_browser(
    *,
    run: str,
    directory: Path = Path(),
    configfile: Path | None = None,
    port: int = 0,
) -> None:
    """Open the report of a run to pick classes; they are saved to config/selection/.

    Below a folder that holds results/, until Ctrl-C; of port 0 any that is free.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: give a number from 0 to 65535.")
    if not directory.is_dir():
        raise InputError(
            f"--directory {directory}: there is no such folder; give the one that holds"
            " results/."
        )
    results = directory / "results" / run
    config = configfile or directory / "config/config.yaml"
    shown = selection_file(config, run)
    places = ("configfile", configfile), ("directory", directory)
    given = [
        f"--{key} {shlex.quote(str(at))}"
        for key, at in places
        if at not in (None, Path())
    ]
    table = table_of_classes(results)
    server = SelectionServer(
        run,
        results / "report/index.html",
        directory,
        shown,
        table,
        " ".join(["cryokin run", *given]),
        port,
        members_of(results, table),
    )
    print(f"Pick classes at {server.url}")
    print(f"They are saved to {directory / shown}. Ctrl-C ends this.", flush=True)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        show(server.url, results / "report")
    else:
        port = server.server_port
        here = f"{getpass.getuser()}@{socket.gethostname()}"
        print(f"From another machine first: ssh -L {port}:127.0.0.1:{port} {here}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()


if __name__ == "__main__":
    run_script(select_in_browser, tell_usage=False)
