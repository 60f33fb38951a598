"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import requests
from websockets.sync.client import ClientConnection, connect

from tests.support.waiting import poll

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--mute-audio",
    "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*",
]  # fmt: skip


class Page:
    """One page. `errors` are its exceptions, its console's errors and its policy's violations; `asked` all URLs."""

    def __init__(self, connection: ClientConnection) -> None:
        self.errors: list[str] = []
        self.asked: list[str] = []
        self._connection = connection
        self._numbers = itertools.count(1)
        self._answers: dict[int, Any] = {}
        self._reader = gevent.spawn(self._read)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        answer = poll(lambda: self._answers.pop(number, None), 20, f"the browser answers {method}", every=0.002)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """What a JavaScript expression comes to; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str, what: str, within: float = 10.0) -> Any:
        return poll(lambda: self.evaluate(script), within, what)

    def text(self, selector: str) -> str:
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def press(self, key: str, code: str = "", text: str = "", modifiers: int = 0) -> None:
        """One key, as from a keyboard."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37}
        common = {
            "key": key, "code": code or key, "windowsVirtualKeyCode": codes.get(key, ord(key[0].upper())),
            "modifiers": modifiers,
        }  # fmt: skip
        text = text or {"Enter": "\r", " ": " "}.get(key, "")
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def write(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def dark(self, dark: bool) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        self._reader.kill()
        self._connection.close()

    def _read(self) -> None:
        for text in self._connection:
            message = json.loads(text)
            parameters = message.get("params", {})
            match message.get("method"):
                case None:
                    self._answers[message["id"]] = message
                case "Runtime.exceptionThrown":
                    self.errors.append(json.dumps(parameters["exceptionDetails"]))
                case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                    self.errors.append(parameters["entry"]["text"])
                case "Network.requestWillBeSent":
                    self.asked.append(parameters["request"]["url"])


@contextmanager
def browser(program: str) -> Iterator[Page]:
    """A page of a browser with a new, empty profile."""
    with tempfile.TemporaryDirectory(prefix="hubble-chromium-", ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            ports = Path(profile) / "DevToolsActivePort"
            poll(lambda: ports.exists() and ports.read_text().count("\n"), 30, "the browser listens")
            port = ports.read_text().splitlines()[0]
            targets = requests.get(f"http://127.0.0.1:{port}/json", timeout=10).json()
            url = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
            page = Page(connect(url, max_size=64 << 20, proxy=None))
            yield page
            page.close()
        finally:
            process.kill()
            process.wait(10)
