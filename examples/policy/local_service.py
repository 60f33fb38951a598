"""A service beside the proxy for tasks that Lua scripts cannot do: one-time keys, and a JSON file.

    python local_service.py --keys keys.sqlite3 --add-key KEY    (or - to read the key from standard input)
    python local_service.py --keys keys.sqlite3 --allow-list allow-list.json

It listens on loopback only, by default on port 8090, and prints its address.

    POST /keys/use  key=KEY&session=ID   200: KEY is valid for this session; 403: it is unknown or was used
    GET /allow-list.json                 the current file
"""

from __future__ import annotations

import argparse
import hashlib
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

TABLE = "CREATE TABLE IF NOT EXISTS keys (digest TEXT PRIMARY KEY, session TEXT)"
# One statement, so that only one of two concurrent sessions with the same key succeeds.
USE = "UPDATE keys SET session = :session WHERE digest = :digest AND (session IS NULL OR session = :session)"


def digest(key: str) -> str:
    """Return the digest of a key. A plain hash is safe for long random keys (`openssl rand -base64 24`)."""
    return hashlib.sha256(key.encode()).hexdigest()


class OneTimeKeys:
    """Keys in an SQLite file. Each is valid for one session."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._change(TABLE, {})

    def add(self, key: str) -> None:
        self._change("INSERT OR IGNORE INTO keys (digest) VALUES (:digest)", {"digest": digest(key)})

    def use(self, key: str, session: str) -> bool:
        return self._change(USE, {"digest": digest(key), "session": session}) == 1

    def _change(self, statement: str, values: dict[str, str]) -> int:
        connection = sqlite3.connect(self._path, timeout=5)
        try:
            with connection:
                return connection.execute(statement, values).rowcount
        finally:
            connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # send header and body in one segment; otherwise the body waits for an acknowledgment
    keys: OneTimeKeys
    allow_list: Path | None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        form = parse_qs(body.decode("ascii"))
        key, session = form.get("key", [""])[0], form.get("session", [""])[0]
        if self.path != "/keys/use":
            self._answer(404)
        else:
            self._answer(200 if key and session and self.keys.use(key, session) else 403)

    def do_GET(self) -> None:
        if self.path != "/allow-list.json" or self.allow_list is None:
            self._answer(404)
        else:
            self._answer(200, self.allow_list.read_bytes())

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""


def main() -> None:
    parser = argparse.ArgumentParser(description="One-time keys and an allow-list for Hubble's authorization scripts")
    parser.add_argument("--keys", type=Path, default=Path("keys.sqlite3"))
    parser.add_argument("--add-key", metavar="KEY", help="add a key and exit; - reads it from standard input")
    parser.add_argument("--allow-list", type=Path)
    parser.add_argument("--port", type=int, default=8090)
    options = parser.parse_args()
    Handler.keys, Handler.allow_list = OneTimeKeys(options.keys), options.allow_list
    if options.add_key:
        Handler.keys.add(sys.stdin.readline().strip() if options.add_key == "-" else options.add_key)
        return
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
