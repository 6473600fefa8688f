"""Headless Chromium over a pair of pipes: the DevTools protocol needs no socket and no library."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)
PATIENCE = 200.0


class Browser:
    """A running browser. `open` gives a page of its own."""

    def __init__(self, program: str, profile: Path) -> None:
        read_here, write_there = os.pipe()
        read_there, self._write = os.pipe()
        self._read = read_here
        self._log = (profile / "log").open("wb")
        # Chromium reads from descriptor 3 and writes to 4.
        script = f'exec "$0" "$@" 3<&{read_there} 4>&{write_there}'
        options = (*OPTIONS, f"--user-data-dir={profile / 'profile'}")
        self._process = subprocess.Popen(
            ["bash", "-c", script, program, *options, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(read_there, write_there),
            start_new_session=True,
        )
        os.close(read_there)
        os.close(write_there)
        self._left, self._number = b"", 0
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(TimeoutError, OSError):  # it may go without an answer
            self.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._read)
        os.close(self._write)
        self._log.close()

    def open(self, file: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> Page:
        """Load a file in a new page of that size."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Network", "Log", "Runtime"):
            page.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        page.emulate(scheme="dark" if dark else "light")
        page.call("Page.navigate", url=file.as_uri())
        self.event("Page.loadEventFired", session)
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a method; an error of the browser raises."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._next(deadline)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def event(self, method: str, session: str) -> None:
        """Wait for an event of a page."""
        deadline = time.monotonic() + PATIENCE
        while not any(e["method"] == method and e.get("sessionId") == session for e in self._events):
            self._next(deadline)

    def events(self, method: str, session: str) -> list[dict[str, Any]]:
        """What a page has told so far."""
        return [e["params"] for e in self._events if e["method"] == method and e.get("sessionId") == session]

    def _next(self, deadline: float) -> dict[str, Any]:
        """The next message, kept if it is an event."""
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._read, 1 << 16) if ready else b""
            if not data:
                raise TimeoutError("the browser says nothing")
            self._left += data
        text, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self._events.append(message)
        return message


class Page:
    """A loaded page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def emulate(self, *, scheme: str = "light", medium: str = "") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=medium, features=features)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is here; the page's own policy does not concern it."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def requests(self) -> list[str]:
        """Everything that the page has asked for."""
        events = self._browser.events("Network.requestWillBeSent", self._session)
        return [event["request"]["url"] for event in events]

    def complaints(self) -> list[str]:
        """Errors and warnings: of the console, of scripts, of the policy."""
        entries = self._browser.events("Log.entryAdded", self._session)
        thrown = self._browser.events("Runtime.exceptionThrown", self._session)
        written = self._browser.events("Runtime.consoleAPICalled", self._session)
        return [e["entry"]["text"] for e in entries] + [str(e) for e in (*thrown, *written)]

    def screenshot(self) -> bytes:
        """A PNG of what is in sight."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
