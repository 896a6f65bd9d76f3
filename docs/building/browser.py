"""Headless Chromium, driven through the DevTools protocol over a pair of pipes.

Needs no package: a message is JSON that ends with a zero byte. Source:
https://chromedevtools.github.io/devtools-protocol.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--remote-debugging-pipe"),
)
PIPES = 'exec "$@" 3<&{} 4>&{}'
"""Starts a program with its ends of the pipes where Chromium expects them."""

KEYS = {"Tab": 9, "Enter": 13}
"""Keys that can be pressed, with their codes."""


def find_chromium() -> str | None:
    """The program, if it is there."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class PageFailedError(Exception):
    """A page could not be opened, or a script in it failed."""


class Browser:
    """One window of headless Chromium; use it as a context manager.

    Args:
        program: Chromium's, such as `find_chromium` returns.
    """

    def __init__(self, program: str):
        self.program = program
        self.events: list[dict[str, Any]] = []
        self.number = 0
        self.session: str | None = None

    def __enter__(self) -> Browser:
        """Start Chromium with an empty profile."""
        self.profile = tempfile.TemporaryDirectory(
            prefix="flexcalc-browser-", ignore_cleanup_errors=True
        )
        its_input, our_output = os.pipe()
        our_input, its_output = os.pipe()
        words = [self.program, *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", PIPES.format(its_input, its_output), "bash", *words],
            pass_fds=(its_input, its_output),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        self.output, self.input = os.fdopen(our_output, "wb"), os.fdopen(our_input, "rb")
        self.buffer = b""
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(found["targetId"] for found in targets if found["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        # A page that keeps the scheme it was first shown in would not be dark later.
        self.call("Page.addScriptToEvaluateOnNewDocument", source="localStorage.clear()")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End Chromium."""
        self.process.terminate()
        self.process.wait()
        self.output.close()
        self.input.close()
        self.profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; events that come before its answer are kept.

        Raises:
            PageFailedError: Chromium refused, or has ended.
        """
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.output.write(json.dumps(message).encode() + b"\0")
        self.output.flush()
        while (answer := self._read()).get("id") != self.number:
            self.events.append(answer)
        if "error" in answer:
            raise PageFailedError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        """The next message of Chromium."""
        while b"\0" not in self.buffer:
            read = self.input.read1(1 << 20)
            if not read:
                raise PageFailedError("Chromium has ended")
            self.buffer += read
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def wait_for(self, method: str) -> None:
        """Wait for an event of the protocol."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._read())

    def open(
        self, page: Path, *, width: int = 1280, scheme: str = "light", media: str = "screen"
    ) -> None:
        """Open a file.

        Args:
            page: the file.
            width: of the window, in CSS pixels.
            scheme: light or dark, which the reader prefers.
            media: screen or print.
        """
        self.events.clear()
        self.show_as(width=width, scheme=scheme, media=media)
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait_for("Page.loadEventFired")

    def show_as(self, *, width: int = 1280, scheme: str = "light", media: str = "screen") -> None:
        """Change the window, the scheme and the medium of the page that is open."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        preferred = {"name": "prefers-color-scheme", "value": scheme}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[preferred, still])

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression, or what its promise comes to.

        Raises:
            PageFailedError: it threw an error.
        """
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise PageFailedError(details.get("exception", {}).get("description", details["text"]))
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=KEYS[key],
            )

    def screenshot(self, file: Path, *, all_of_it: bool = True) -> None:
        """Write a picture of the page (PNG); all of its height, or of the window alone."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=all_of_it)
        if all_of_it:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {**size, "x": 0, "y": 0, "scale": 1}
            taken = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(taken["data"]))

    def print_to(self, file: Path) -> None:
        """Write what the page is on paper (PDF)."""
        self.call("Emulation.setEmulatedMedia", media="")
        printed = self.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        file.write_bytes(base64.b64decode(printed["data"]))

    def complaints(self) -> list[str]:
        """Errors and warnings on the console, and errors of scripts, since the page was opened."""
        found = []
        for event in self.events:
            given = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                details = given["exceptionDetails"]
                found.append(details.get("exception", {}).get("description", details["text"]))
            if event.get("method") == "Log.entryAdded" and given["entry"]["level"] in (
                "error",
                "warning",
            ):
                found.append(given["entry"]["text"])
            if event.get("method") == "Runtime.consoleAPICalled" and given["type"] in (
                "error",
                "warning",
                "assert",
            ):
                found.append(_words(given["args"]))
        return found

    def fetched(self) -> list[str]:
        """Addresses outside of this machine's files that the page asked for since it was opened."""
        asked = (
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        )
        return [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))]


def _words(arguments: Iterable[dict[str, Any]]) -> str:
    return " ".join(str(entry.get("value", entry.get("description"))) for entry in arguments)
