"""Two measurements within one process: `python -m benchmarks.watched events|page SETTINGS` prints its result as JSON.

`events`: the events that a file logger writes at a given rate. `page`: the time until the dashboard of a proxy with
many sessions is usable in a headless Chromium.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from hubble.admin.server import serve  # noqa: E402
from hubble.events import Events  # noqa: E402
from hubble.events.files import FileLogger  # noqa: E402
from hubble.transport.listen import open_listener  # noqa: E402
from tests.support.browser import browser  # noqa: E402
from tests.support.crowd import populate  # noqa: E402
from tests.support.samples import EVENTS  # noqa: E402
from tests.support.tunnels import Tunnel  # noqa: E402

TOKEN = "a-token-for-the-benchmark"
WHEN = "new Promise((tell) => { (function look() { window.usable ? tell(usable) : setTimeout(look, 5); })(); })"
USABLE = """new MutationObserver((_, observer) => {
  if (document.querySelectorAll('#sessions-table tbody tr').length < 50) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.usable = performance.now(); }));
}).observe(document, { childList: true, subtree: true })"""


def events(path: str, rate: int, seconds: float) -> dict[str, float]:
    """Return the numbers of emitted events and of events in the file."""
    loggers, told, begun = Events(), 0, time.perf_counter()
    loggers.install(FileLogger(Path(path)))
    while (elapsed := time.perf_counter() - begun) < seconds:
        while told < rate * elapsed:
            loggers.log(EVENTS[told % len(EVENTS)])
            told += 1
        gevent.sleep(0.005)
    cpu = time.process_time()
    loggers.close(10)
    with Path(path).open("rb") as file:
        return {"told": told, "written": sum(1 for _ in file), "seconds": elapsed, "cpu": cpu}


def page(sessions: int, loads: int) -> dict[str, list[float]]:
    """Return the seconds from navigation to the first page of sessions on the screen."""
    program = shutil.which("chromium")
    if program is None:
        return {"seconds": []}
    with Tunnel(with_agents=False) as tunnel, browser(program) as chromium:
        listener = open_listener("127.0.0.1", 0)
        serve(tunnel.proxy, listener, TOKEN, {})
        populate(tunnel.proxy, sessions, gateways=500)
        chromium.call("Page.addScriptToEvaluateOnNewDocument", source=USABLE)
        seconds = []
        for _ in range(loads + 1):  # the first one also starts the browser's processes
            chromium.open("about:blank")
            chromium.open(f"http://127.0.0.1:{listener.getsockname()[1]}/#token={TOKEN}")
            seconds.append(chromium.evaluate(WHEN) / 1000)  # one question: asking again and again would slow it down
        return {"seconds": seconds[1:]}


if __name__ == "__main__":
    measure: Any = {"events": events, "page": page}[sys.argv[1]]
    print(json.dumps(measure(**json.loads(sys.argv[2]))), flush=True)
