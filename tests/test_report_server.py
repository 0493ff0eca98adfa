"""The server of the report: whatever is sent to it, an answer and no traceback."""

import json
import socket
import subprocess
import sys
import threading

import pytest

from cryokin.report import server as server_module
from cryokin.report.server import POLICY
from reports import serving

DATA = json.dumps({"classes": [{"k": 1}, {"k": 2}]})
PAGE = (
    f'<meta content="{POLICY}"><title>demo</title>'
    f'<script type="application/json" id="data">{DATA}</script>'
)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module._Handler, "timeout", 0.5)
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "classes.star").touch()
    with serving(
        tmp_path / "index.html", tmp_path, tmp_path / "classes.star"
    ) as served:
        yield served


def said(server, raw):
    """Return all that the server answers to some bytes."""
    with socket.create_connection(("127.0.0.1", server.server_port), 10) as link:
        link.sendall(raw)
        answer = b""
        while part := link.recv(4096):
            answer += part
    return answer.decode()


def request(server, body, length=None, host=None):
    own = f"127.0.0.1:{server.server_port}"
    body = body.encode()
    lines = (
        f"PUT /{server.token}/selection.yaml HTTP/1.0",
        f"Host: {host or own}",
        f"Origin: http://{host or own}",
        f"Content-Length: {len(body) if length is None else length}",
    )
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


BODIES = {
    "a number of 5000 digits": "run: demo\nkeep: [" + "9" * 5000 + "]",
    "a number of 400 digits": "run: demo\nkeep: [" + "9" * 400 + "]",
    "an alias of itself": "run: demo\nkeep: &a [*a]",
    "a date that is none": "run: demo\nkeep: [2001-99-99]",
    "nested deeply": "[" * 3000,
    "a mapping as a class": "run: demo\nkeep: [{a: 1}]",
    "a key that is a list": "? [1]\n: 2",
    "no text": "run: \x00",
    "the key twice": "run: demo\nkeep: [1]\nkeep: [2]",
}


@pytest.mark.parametrize("what", BODIES)
def test_what_is_no_selection_is_refused_with_a_sentence(server, capfd, what):
    answer = said(server, request(server, BODIES[what]))
    assert answer.startswith("HTTP/1.0 422")
    assert "Not saved: the selection" in answer
    assert not (server.directory / server.target).exists()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"host": "["}, 403),
        ({"host": "[::1"}, 403),
        ({"length": "\xb2"}, 413),
        ({"length": "9" * 5000}, 413),
        ({"length": "-1"}, 413),
        ({"length": "ten"}, 413),
    ],
)
def test_what_is_no_request_is_refused(server, capfd, given, status):
    answer = said(server, request(server, "run: demo\nkeep: [1]\n", **given))
    assert answer.startswith(f"HTTP/1.0 {status}")
    assert not (server.directory / server.target).exists()
    assert "Traceback" not in capfd.readouterr().err


def test_who_says_nothing_is_left_alone(server):
    """A thread for each would be held for good."""
    before = threading.active_count()
    links = [
        socket.create_connection(("127.0.0.1", server.server_port), 10)
        for _ in range(20)
    ]
    for link in links:
        link.settimeout(20)
        assert link.recv(100) == b""  # the server has closed it
        link.close()
    assert said(server, request(server, "run: demo\nkeep: [1]\n")).startswith(
        "HTTP/1.0 200"
    )
    assert threading.active_count() <= before + 2


@pytest.mark.parametrize(
    ("config", "arguments", "words"),
    [
        ("runs: [1, 2]", ["--port", "99999"], "--port 99999"),
        ("runs: {demo: 3}", [], "no report of run demo"),
        ("runs: 7", [], "no report of run demo"),
        ("- a\n- b", [], "no report of run demo"),
        ("runs: {demo: [", [], "no usable YAML"),
        ("runs: {demo: {}, demo: {}}", [], "stands twice"),
    ],
)
def test_the_command_survives_any_configuration(
    root, tmp_path, config, arguments, words
):
    (tmp_path / "my.yaml").write_text(config)
    script = root / "workflow/scripts/select_in_browser.py"
    given = ["--run", "demo", "--directory", ".", "--configfile", "my.yaml", *arguments]
    done = subprocess.run(
        [sys.executable, script, *given],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert words in done.stderr
