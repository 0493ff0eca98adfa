"""A real Chromium without a screen, driven by the WebDriver protocol."""

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: No screen, and nothing but the page asks the network for anything.
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-default-apps", "--disable-dev-shm-usage"),
    "--hide-scrollbars",
]
#: The names of keys that are not letters, as the protocol has them.
KEYS = {
    **{"Shift": "\ue008", "Escape": "\ue00c", "Space": " ", "Home": "\ue011"},
    **{"End": "\ue010", "ArrowLeft": "\ue012", "ArrowUp": "\ue013"},
    **{"ArrowRight": "\ue014", "ArrowDown": "\ue015", "Tab": "\ue004"},
    **{"Control": "\ue009"},
}


def is_installed() -> bool:
    """Whether there are a Chromium and its driver."""
    return all(map(shutil.which, ("chromium", "chromedriver")))


class Browser:
    """One window; downloads go to a folder."""

    def __init__(self, port: int, downloads: Path) -> None:
        self._address = f"http://127.0.0.1:{port}/session"
        options = {
            "args": [*ARGUMENTS, f"--user-data-dir={downloads / 'profile'}"],
            "binary": shutil.which("chromium"),
            "prefs": {"download.default_directory": str(downloads)},
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._address += f"/{session['sessionId']}"
        self.open("about:blank")  # not the page of new tabs, which asks for much
        self.log("performance")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            message = json.load(error)["value"]["message"]
            raise RuntimeError(message.splitlines()[0]) from None

    def open(self, address: str | Path) -> None:
        """Load a page, or a file."""
        url = address.resolve().as_uri() if isinstance(address, Path) else address
        self._call("POST", "/url", {"url": url})
        # The driver's word that a page is there is at times that of the one before.
        state = "return [location.href, document.readyState]"
        wait_until(lambda: self.run(state) == [url, "complete"])

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a script in the page returns; it may await."""
        done = "arguments[arguments.length - 1]"
        text = f"(async () => {{ {script} }})().then({done}, (e) => {done}(String(e)))"
        body = {"script": text, "args": list(arguments)}
        return self._call("POST", "/execute/async", body)

    def element(self, selector: str) -> str:
        """Return the handle of the first element."""
        found = self._call(
            "POST", "/element", {"using": "css selector", "value": selector}
        )
        return str(next(iter(found.values())))

    def click(self, selector: str) -> None:
        """Click in the middle of an element, with the mouse."""
        self._call("POST", f"/element/{self.element(selector)}/click", {})

    def press(self, *names: str) -> None:
        """Press keys one after the other; "Shift+ArrowRight" holds the first down."""
        actions = []
        for name in names:
            keys = [KEYS.get(key, key) for key in name.split("+")]
            actions += [{"type": "keyDown", "value": key} for key in keys]
            actions += [{"type": "keyUp", "value": key} for key in reversed(keys)]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self._call("POST", "/actions", {"actions": [source]})

    def log(self, kind: str = "browser") -> list[dict[str, Any]]:
        """Return what was logged since the last call: errors, or requests."""
        entries: list[dict[str, Any]] = self._call("POST", "/se/log", {"type": kind})
        return entries

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the last call."""
        messages = [
            json.loads(e["message"])["message"] for e in self.log("performance")
        ]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        body = {"cmd": command, "params": parameters}
        return self._call("POST", "/goog/cdp/execute", body)

    def show_as(self, width: int, height: int, theme: str = "light") -> None:
        """Set the size of the window [CSS pixel] and the colour scheme."""
        phone = width < 600
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1 + phone},
            mobile=phone,
        )
        features = {"prefers-color-scheme": theme, "prefers-reduced-motion": "reduce"}
        pairs = [{"name": name, "value": value} for name, value in features.items()]
        self.devtools("Emulation.setEmulatedMedia", features=pairs)
        self.devtools("Emulation.setFocusEmulationEnabled", enabled=True)

    def screenshot(self, path: Path) -> None:
        """Save what is seen as PNG."""
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def close(self) -> None:
        """End the browser."""
        self._call("DELETE", "")


@contextmanager
def browser(downloads: Path) -> Iterator[Browser]:
    """Start a driver and a browser, and end both."""
    driver = subprocess.Popen(
        [shutil.which("chromedriver") or "chromedriver", "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert driver.stdout is not None
    try:
        line = next(line for line in driver.stdout if "successfully on port" in line)
        window = Browser(int(line.rstrip(".\n").split()[-1]), downloads)
        try:
            yield window
        finally:
            window.close()
    finally:
        driver.terminate()
        driver.wait()
        driver.stdout.close()


def wait_until(holds: Any, seconds: float = 10) -> None:
    """Wait until a condition holds, or fail."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
