"""Real front servers, run with the configurations in examples/, which are used as they are but for ports and paths."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificates import Identity
from tests.support.outproxies import public_directory, running
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.programs import require

CERTIFICATE = "/etc/ssl/hubble.example.com"
IDLE = 2
"""Seconds, in place of a front server's default, after which it cuts what is idle."""

NGINX = """\
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    {temporary}
    {timeouts}
    include {site};
}}
"""
CADDY = "{\n\tadmin off\n\tauto_https off\n}\n"


@dataclass(frozen=True)
class Place:
    """Where a front server is to listen, on all addresses of both families, and where Hubble is."""

    port: int
    hubble: int
    identity: Identity
    directory: Path

    def example(self, name: str) -> str:
        """An example's text, with this place's ports and files in place of those in it."""
        text = (ROOT / "examples" / name).read_text()
        cert, key, both = (self.directory / file for file in ("cert.pem", "key.pem", "both.pem"))
        shutil.copy(self.identity.cert, cert)
        shutil.copy(self.identity.key, key)
        both.write_text(cert.read_text() + key.read_text())
        for file in (cert, key, both):
            file.chmod(0o644)
        text = re.sub(r"(?m)^\s*#.*\n", "", text)
        ports = {"443": self.port, "8080": self.hubble, "8443": self.hubble, "8081": free_port()}
        text = re.sub(r":(443|8080|8443|8081)\b", lambda found: f":{ports[found[1]]}", text)
        text = re.sub(r"(listen )443\b", rf"\g<1>{self.port}", text)
        if "crt " in text:
            return text.replace(f"{CERTIFICATE}.pem", str(both))
        return text.replace(f"{CERTIFICATE}.pem", str(cert)).replace(f"{CERTIFICATE}.key", str(key))


@contextmanager
def _place(hubble: int, identity: Identity) -> Iterator[Place]:
    with public_directory() as directory:
        yield Place(free_port(), hubble, identity, directory)


@contextmanager
def nginx(hubble: int, identity: Identity, idle: int | None = IDLE) -> Iterator[int]:
    """nginx's port; `idle` in place of its time-outs, None for its own."""
    program = require("nginx")
    with _place(hubble, identity) as place:
        site = place.directory / "hubble.conf"
        site.write_text(place.example("nginx.conf"))
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "\n".join(f"{kind}_temp_path {place.directory}/{kind};" for kind in kinds)
        timeouts = f"proxy_read_timeout {idle}s; proxy_send_timeout {idle}s;" if idle else ""
        config = place.directory / "nginx.conf"
        config.write_text(NGINX.format(directory=place.directory, site=site, temporary=temporary, timeouts=timeouts))
        command = [program, "-c", str(config), "-p", str(place.directory), "-e", "stderr"]
        with running(command, place.port, place.directory / "output.log") as port:
            yield port


@contextmanager
def haproxy(
    hubble: int,
    identity: Identity,
    idle: int | None = IDLE,
    example: str = "haproxy.cfg",
    header: str = "send-proxy-v2",
) -> Iterator[int]:
    """HAProxy's port; `header` is how it speaks the PROXY protocol, if the example has it do that."""
    program = require("haproxy")
    with _place(hubble, identity) as place:
        text = place.example(example).replace(" send-proxy-v2", f" {header}")
        if idle:
            text = text.replace(" 50s", f" {idle}s")
        config = place.directory / "haproxy.cfg"
        config.write_text(text)
        with running([program, "-db", "-f", str(config)], place.port, place.directory / "output.log") as port:
            yield port


@contextmanager
def caddy(hubble: int, identity: Identity, idle: int | None = None) -> Iterator[int]:
    """Caddy's port; it has no time-out for what is idle."""
    program = require("caddy")
    with _place(hubble, identity) as place:
        config = place.directory / "Caddyfile"
        text = place.example("Caddyfile").replace("https://hubble.example.com:", "https://:")
        config.write_text(CADDY + text)
        home = [f"{variable}={place.directory}" for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")]
        command = ["env", *home, program, "run", "--adapter", "caddyfile", "--config", str(config)]
        with running(command, place.port, place.directory / "output.log") as port:
            yield port
