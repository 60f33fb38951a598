"""The page, in a real browser."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket

from hubble.admin.server import serve
from hubble.events import CloseSession
from hubble.transport.listen import open_listener
from tests.support.browser import Page, browser
from tests.support.crowd import populate
from tests.support.programs import require
from tests.support.tunnels import Tunnel, eventually, exchange

TOKEN = "a-token-for-the-page"
NASTY = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
ROWS = "document.querySelectorAll('#sessions-table tbody tr').length"
NAMES = "[...document.querySelectorAll('#gateways-table tbody td:first-child')].map((cell) => cell.textContent)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    with browser(require("chromium")) as page:
        yield page


@pytest.fixture
def page(chromium: Page) -> Iterator[Page]:
    """A page that has seen nothing yet; at the end it must have had no errors, and asked nobody else."""
    chromium.size(1280, 900)
    chromium.dark(False)
    chromium.open("about:blank")
    chromium.errors.clear()
    chromium.asked.clear()
    yield chromium
    assert not chromium.errors
    assert {url.split("/")[2] for url in chromium.asked if not url.startswith("about:")} <= {_hosts[-1]}
    chromium.open("about:blank")


_hosts = [""]


def served(tunnel: Tunnel) -> str:
    """The admin listener's address."""
    listener = open_listener("127.0.0.1", 0)
    serve(tunnel.proxy, listener, TOKEN, {})
    _hosts[0] = f"127.0.0.1:{listener.getsockname()[1]}"
    return f"http://{_hosts[0]}/"


def look(page: Page, url: str) -> None:
    """Open the page with the token, and wait for its first view."""
    page.open(f"{url}#token={TOKEN}")
    page.wait("document.getElementById('connection')?.textContent === 'live'", "the page is live")


def test_the_token_is_asked_for_and_remembered(page: Page) -> None:
    with Tunnel() as tunnel:
        url = served(tunnel)
        page.open(url)
        page.wait("document.activeElement?.id === 'token'", "the token is asked for")
        page.write("wrong")
        page.press("Enter")
        page.wait("document.getElementById('token-problem').textContent.includes('not accepted')", "it is refused")
        page.errors.clear()  # the browser logs the 401
        page.write(TOKEN)
        page.press("Enter")
        page.wait("document.getElementById('connection').textContent === 'live'", "the page is live")
        assert page.evaluate("document.getElementById('locked').hidden")
        page.open(url)
        page.wait("document.getElementById('n-gateways')?.textContent === '2'", "the token is remembered")
        look(page, url)
        assert "token" not in page.evaluate("location.href")  # also where the page was open already


def test_gateways_and_sessions_come_and_go(page: Page) -> None:
    with Tunnel() as tunnel:
        look(page, served(tunnel))
        page.wait(f"{NAMES}.join() === 'entry,exit'", "both gateways")
        assert "No sessions." in page.text("#sessions")
        sock = tunnel.open()
        exchange(sock, b"x" * 150_000)
        page.wait(f"{ROWS} === 1", "the session")
        row = page.text("#sessions-table tbody tr")
        assert "entry" in row and f"127.0.0.1:{tunnel.echo.server_port}" in row and "300 kB" in row
        assert "Open session entry to exit" in page.text("#events")
        assert page.evaluate("document.querySelectorAll('#map .node').length") == 2
        sock.close()
        page.wait(f"{ROWS} === 0", "the session is gone")
        page.wait("document.getElementById('events').innerText.includes('Close session')", "its end is told")


def test_names_are_text_and_never_markup(page: Page) -> None:
    with Tunnel() as tunnel:
        tunnel.agent(NASTY)
        nasty = tunnel.agent(NASTY + "2", f"0:{NASTY.replace(':', '')}:127.0.0.1:{tunnel.echo.server_port}")
        tunnel.port = tunnel.rule(nasty)
        sock = tunnel.open()
        look(page, served(tunnel))
        page.wait(f"{ROWS} === 1", "the session")
        assert NASTY in page.evaluate(NAMES)
        assert NASTY in page.text("#sessions-table")
        assert NASTY in page.text("#events")
        assert page.evaluate("document.querySelectorAll('img, script').length") == 3  # the page's own
        assert page.evaluate("document.title") == "Hubble proxy"
        sock.close()


def test_a_session_is_kicked_from_the_keyboard_after_a_confirmation(page: Page) -> None:
    with Tunnel() as tunnel:
        sock = tunnel.open()
        look(page, served(tunnel))
        page.wait(f"{ROWS} === 1", "the session")
        page.evaluate("document.querySelector('#sessions-table td.actions button').focus()")
        label = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert label == "Kick the session from entry to exit"
        page.press("Enter")
        page.wait("document.getElementById('confirm').open", "a confirmation is asked for")
        page.press("Escape")
        page.wait("!document.getElementById('confirm').open", "nothing is done")
        exchange(sock, b"still here")
        gevent.sleep(2.2)  # a view later the focus is where it was
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == label
        page.press("Enter")
        page.wait("document.getElementById('confirm').open", "a confirmation is asked for")
        page.press("Tab")
        assert page.evaluate("document.activeElement.id") == "confirm-ok"
        page.press("Enter")
        assert tunnel.logger.wait(CloseSession).reason == "revoked"
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        page.wait(f"{ROWS} === 0", "the session is gone")
        assert "was kicked" in page.text("#toast")


def test_a_gateway_is_blocked(page: Page) -> None:
    with Tunnel() as tunnel:
        look(page, served(tunnel))
        page.wait(f"{NAMES}.length === 2", "both gateways")
        page.evaluate("document.querySelector('[aria-label=\"Block the gateway exit\"]').click()")
        page.wait("document.getElementById('confirm').open", "a confirmation is asked for")
        page.evaluate("document.getElementById('confirm-ok').click()")
        page.wait(f"{NAMES}.join() === 'entry'", "it is gone")
        eventually(lambda: "exit" in tunnel.proxy.blocks, "it is blocked")
        page.wait("document.querySelector('#events .warn')?.innerText.includes('blocked')", "its refusal is told")


def test_a_proxy_that_went_away_is_seen_and_found_again(page: Page) -> None:
    with Tunnel() as tunnel:
        url = served(tunnel)
        look(page, url)
        tunnel.proxy._services[0].stop()
        page.wait("document.getElementById('connection').textContent === 'connection lost'", "the loss is seen")
        listener = socket.create_server(("127.0.0.1", int(_hosts[0].split(":")[1])), reuse_port=False)
        serve(tunnel.proxy, listener, TOKEN, {})
        page.wait("document.getElementById('connection').textContent === 'live'", "it is live again", within=15)
        page.errors.clear()  # the browser logs failed requests


def test_a_search_doubles_nothing(page: Page) -> None:
    with Tunnel() as tunnel:
        history = tunnel.proxy.watch.history
        assert history is not None
        history.sample(tunnel.proxy.gateways, tunnel.proxy.sessions, 5.0)
        look(page, served(tunnel))
        page.wait("document.querySelectorAll('#events li').length === 3", "a start and two registrations")
        page.evaluate("document.querySelector('#search').focus()")
        page.write("exit")  # another stream, which begins with all that is known
        page.wait(f"{NAMES}.join() === 'exit'", "what was searched for")
        assert page.evaluate("document.querySelectorAll('#events li').length") == 3
        sock = tunnel.open()
        page.wait("document.querySelectorAll('#events li').length === 4", "an event more")
        sock.close()


def test_two_thousand_sessions(page: Page) -> None:
    with Tunnel(with_agents=False) as tunnel:
        populate(tunnel.proxy, 2000, gateways=500)
        url = served(tunnel)
        look(page, url)  # with everything in the browser's and the proxy's caches, as in daily use
        page.open("about:blank")
        page.open(f"{url}#token={TOKEN}")
        page.wait(f"{ROWS} === 50", "the first page of sessions")
        assert "of 2,000" in page.text("#sessions-pager") and "of 500" in page.text("#gateways-pager")
        assert page.evaluate("document.querySelectorAll('*').length") < 3000
        page.evaluate("document.querySelector('#sessions-pager button:last-child').click()")
        page.wait("document.getElementById('sessions-pager').textContent.includes('51\u2013100')", "the second page")
        page.evaluate("document.querySelector('#search').focus()")
        page.write("sensor-0042")
        page.wait(f"{NAMES}.join() === 'sensor-0042'", "what was searched for")
        page.evaluate("document.querySelector('#search').select()")
        page.write("nobody of this name")
        page.wait("document.getElementById('sessions').innerText.includes('No session matches')", "nothing is found")
        page.evaluate("document.querySelector('#search').select()")
        page.press("Backspace")
        page.evaluate(
            "(document.querySelector('#search').value = '', "
            "document.querySelector('#search').dispatchEvent(new Event('input')))"
        )
        page.evaluate("document.querySelectorAll('#sessions-table th button')[5].click()")
        page.wait("document.querySelector('[aria-sort=descending]')?.textContent === 'Rate'", "sorted by rate")
        page.wait(f"{ROWS} === 50", "all of them again")
        for _ in range(3):
            assert page.evaluate("document.querySelectorAll('*').length") < 3000
            gevent.sleep(0.5)


def test_it_is_for_phones_and_for_the_dark_and_for_screen_readers(page: Page, tmp_path: Path) -> None:
    with Tunnel(with_agents=False) as tunnel:
        populate(tunnel.proxy, 60)
        url = served(tunnel)
        look(page, url)
        page.wait(f"{ROWS} === 50", "sessions")
        background = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(background)
        page.dark(True)
        assert page.evaluate(background) != light
        for width in (320, 390, 768, 1280):
            page.size(width, 800, phone=width < 700)
            page.wait("document.documentElement.scrollWidth <= innerWidth", f"it fits into {width} pixels")
        page.size(1280, 900)
        for chart in ("throughput", "latency"):
            label = page.evaluate(f"document.querySelector('#{chart} svg').getAttribute('aria-label')")
            assert "over 15 minutes; now" in label and "\N{EN DASH}" not in label
        page.evaluate("document.querySelector('#throughput svg').focus()")
        before = page.text("#throughput .legend")
        page.press("ArrowLeft")
        assert page.text("#throughput .legend") != before
        names = page.call("Accessibility.getFullAXTree")["nodes"]
        nameless = [
            node["role"]["value"]
            for node in names
            if node.get("role", {}).get("value") in ("button", "textbox", "searchbox", "combobox", "table", "region")
            and not node.get("name", {}).get("value")
            and not node.get("ignored")
        ]
        assert not nameless
        if directory := os.environ.get("HUBBLE_SCREENSHOTS"):
            page.screenshot(Path(directory) / "dark.png")
        assert json.dumps(names).count('"value": "table"') == 3
