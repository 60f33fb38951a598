"""A process of its own that answers each HTTP request after a second, as an authorization service might.

Prints its port. Run with: python -m tests.support.slowserver
"""

from gevent import monkey

monkey.patch_all()

from collections.abc import Callable  # noqa: E402

import gevent  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402


def application(environ: dict[str, str], start_response: Callable[..., object]) -> list[bytes]:
    gevent.sleep(1)
    status = "404 Not Found" if "port=23" in environ["QUERY_STRING"] else "200 OK"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


if __name__ == "__main__":
    server = WSGIServer(("127.0.0.1", 0), application, log=None, backlog=1024)
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()
