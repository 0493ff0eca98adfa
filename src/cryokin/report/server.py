"""Serve one report to the browser of this machine and take the selection from it.

Other pages that the user has open, and other users of the machine, must neither read
the report nor write a selection: the address holds a token that only the user is told;
the server listens to this machine alone; a request that names another host (a name that
was rebound to this machine) or comes from another page is refused.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.report.images import png
from cryokin.report.members import UNACCOUNTED
from cryokin.selection import (
    NAME,
    check_selection,
    named_selections,
    parse_selection,
    selection_path,
    write_selection,
)
from cryokin.yaml_files import load_yaml

HOST = "127.0.0.1"
OWN_NAMES = (HOST, "localhost")
LARGEST_SELECTION = 1_000_000  # a thousand classes take some 10 kB [byte]
PATIENCE = 30.0  # with who says nothing, or not all [s]
POLICY = "default-src 'none'; img-src data:; "  # how the policy of a page begins
#: Draws a page of the members of a class, aligned or not.
Sheets = Callable[[int, int, bool], NDArray[np.uint8] | None]
SHEET = re.compile(r"members/([1-9]\d{0,8}|unaccounted)/(aligned|raw)/(\d{1,9})\.png")


class SelectionServer(ThreadingHTTPServer):
    """Serves the report of a run below a secret path.

    Parameters
    ----------
    run : str
        Name of the run.
    page : Path
        The report, ``results/<run>/report/index.html``.
    directory : Path
        The working folder.
    target : Path
        Where the selection without a name is written, seen from there; those with one
        are ``config/selection/<run>.<name>.yaml``.
    classes : Path
        The table that the selection is of: ``classes.star`` or ``classes.json``.
    next_command : str
        What to say after one was saved.
    port : int
        0: any that is free.
    members : callable, optional
        See `cryokin.report.members.Members.page`.

    Attributes
    ----------
    url : str
        The address to open, token included.

    Raises
    ------
    InputError
        If there is no report.
    """

    daemon_threads = True

    def __init__(
        self,
        run: str,
        page: Path,
        directory: Path,
        target: Path,
        classes: Path,
        next_command: str,
        port: int,
        members: Sheets | None = None,
    ) -> None:
        if not page.is_file():
            raise InputError(
                f"{page}: there is no report of run {run} yet; make it by snakemake, or"
                f" see what there is by 'cryokin report --run {run}'."
            )
        self.run_name, self.page, self.directory = run, page, directory
        self.target, self.classes, self.next_command = target, classes, next_command
        self.members = members
        self.token = secrets.token_urlsafe(24)
        super().__init__((HOST, port), _Handler)
        self.url = f"http://{HOST}:{self.server_port}/{self.token}/"

    def html(self) -> bytes:
        """Return the page, allowed to talk to this server."""
        text = self.page.read_text(encoding="utf-8")
        if text.count(POLICY) != 1:
            raise InputError(
                f"{self.page}: not a report of this version; make it again by snakemake"
                " --forcerun isac_report pytom_report."
            )
        file = f'<meta name="selection-file" content="{escape(str(self.target))}">'
        place = f":{self.server_port}/{self.token}/members/"
        pictures = " ".join(f"http://{name}{place}" for name in OWN_NAMES)
        allowed = POLICY.replace("data:", f"data: {pictures}")
        text = text.replace(POLICY, allowed + "connect-src 'self'; ")
        return re.sub(r"(?=<title>)", lambda _: file, text, count=1).encode()

    def sheet(self, name: str) -> bytes | None:
        """Return a picture of members by its name; None if there is no such."""
        asked = SHEET.fullmatch(name)
        if asked is None or self.members is None:
            return None
        number = UNACCOUNTED if asked[1] == "unaccounted" else int(asked[1])
        grey = self.members(number, int(asked[3]), asked[2] == "aligned")
        return None if grey is None else png(grey)

    def file(self, name: str) -> Path:
        """Return the file of a selection, seen from the working folder."""
        return selection_path(self.run_name, name) if name else self.target

    def saved(self) -> dict[str, str]:
        """Return what is saved, by the names of the selections."""
        names = ["", *named_selections(self.run_name, self.directory)]
        paths = {name: self.directory / self.file(name) for name in names}
        return {
            name: path.read_text(encoding="utf-8", errors="replace")
            for name, path in paths.items()
            if path.is_file()
        }

    def save(self, text: str, name: str) -> str:
        """Write a selection that the page sends; return what to tell the user.

        Raises
        ------
        InputError
            If it is no selection of classes that the run has.
        """
        content = load_yaml(text, "the selection")
        selection = parse_selection(content, "the selection")
        shown = page_data(self.page.read_text(encoding="utf-8"))
        known = [entry["k"] for entry in shown.get("classes", ())]
        check_selection(selection, "the selection", self.run_name, known, self.classes)
        write_selection(self.directory / self.file(name), selection)
        kept, groups = len(selection.keep), len(selection.merge)
        merged = f", {groups} group{'' if groups == 1 else 's'} to merge,"
        folder = f"results/{self.run_name}/{f'selected.{name}' if name else 'selected'}"
        return (
            f"Saved {kept} class{'' if kept == 1 else 'es'}{merged if groups else ''}"
            f" to {self.file(name)}. Next: {self.next_command} (what it keeps stands in"
            f" {folder}/index.html)"
        )


class _Handler(BaseHTTPRequestHandler):
    server: SelectionServer
    server_version = "cryokin"
    sys_version = ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Send the page, the selections that there are, or a picture."""
        name = self._asked_for()
        if name is None:
            return
        try:
            if name == "":
                return self._send(HTTPStatus.OK, self.server.html(), "text/html")
            if name == "selections.json":
                saved = json.dumps(self.server.saved()).encode()
                return self._send(HTTPStatus.OK, saved, "application/json")
            if picture := self.server.sheet(name):
                return self._send(HTTPStatus.OK, picture, "image/png")
        except (InputError, OSError) as error:
            return self._say(HTTPStatus.NOT_FOUND, str(error))
        self._say(HTTPStatus.NOT_FOUND, "there is nothing of this name")

    def do_PUT(self) -> None:
        """Take a selection."""
        name = self._asked_for(changes=True)
        if name is None:
            return
        length = self.headers.get("Content-Length", "")
        called = re.fullmatch(rf"selection(?:\.({NAME}))?\.yaml", name)
        if called is None:
            return self._say(HTTPStatus.NOT_FOUND, "only selection.yaml can be saved")
        is_number = length.isascii() and length.isdigit() and len(length) < 20
        if not is_number or int(length) > LARGEST_SELECTION:
            return self._say(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "this is no selection"
            )
        try:
            sent = self.rfile.read(int(length)).decode("utf-8")
            said = self.server.save(sent, called[1] or "")
        except (InputError, OSError, UnicodeDecodeError) as error:
            return self._say(HTTPStatus.UNPROCESSABLE_ENTITY, f"Not saved: {error}")
        print(said, flush=True)
        self._say(HTTPStatus.OK, said)

    def _asked_for(self, changes: bool = False) -> str | None:
        """Return the part of the path behind the token, or None after a refusal."""
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        try:
            named = urlsplit(f"//{host}").hostname
            path = urlsplit(self.path).path
        except ValueError:  # no address at all
            named, path = None, ""
        token, _, name = path.lstrip("/").partition("/")
        allowed = (
            named in OWN_NAMES
            # A browser tells where a change comes from; a page of another port or
            # a file is another page, too.
            and (origin == f"http://{host}" or (origin is None and not changes))
            and hmac.compare_digest(token.encode(), self.server.token.encode())
        )
        if allowed:
            return name
        self._say(HTTPStatus.FORBIDDEN, "this address is not the one that was printed")
        return None

    def _say(self, status: HTTPStatus, sentence: str) -> None:
        self._send(status, sentence.encode(), "text/plain")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        charset = "; charset=utf-8" if kind.startswith("text/") else ""
        self.send_header("Content-Type", kind + charset)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Keep the terminal for what was saved."""


def page_data(html: str) -> dict[str, Any]:
    """Return what the script of a report knows of it."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html)
    data: dict[str, Any] = {} if found is None else json.loads(found[1])
    return data
