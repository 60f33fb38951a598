from __future__ import annotations

import datetime
import logging
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.server import StreamServer

from hubble.base.errors import DialError, UsageError
from hubble.transport.addresses import Socket
from hubble.transport.dial.dial import DialOptions, open_websocket, parse_url
from hubble.transport.serve.servertls import peer_subject, server_context
from hubble.transport.tls import TLSOptions, client_context, public_key_digest
from tests.support.certificates import Authority, Identity
from tests.support.dialling import failure, openssl, pin_by_openssl, succeeds, tls_server
from tests.support.wsserver import HELLO, hang_up, scripted_server

EC = "ec -pkeyopt ec_paramgen_curve:"
ROOT = Path(__file__).resolve().parents[2]


def ago(days: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)


class TestServerCertificate:
    def test_the_ca_given_is_trusted(self, ca: Authority) -> None:
        with tls_server(ca.issue("localhost", "127.0.0.1")) as server:
            succeeds(server.port, ca_file=ca.file)
            succeeds(server.port, "127.0.0.1", ca_file=ca.file)

    def test_the_server_s_own_certificate_is_trusted_where_it_is_given(self, ca: Authority) -> None:
        identity = ca.issue("localhost")
        with tls_server(identity) as server:
            succeeds(server.port, ca_file=identity.cert)

    def test_without_a_ca_the_system_decides(self, ca: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
        with tls_server(ca.issue("localhost")) as server:
            assert "unknown issuer: pass the issuer's certificate with -ca" in failure(server.port)
            monkeypatch.setenv("SSL_CERT_FILE", ca.file)
            succeeds(server.port)

    def test_with_a_ca_the_system_s_do_not_count(
        self, ca: Authority, other_ca: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", ca.file)
        with tls_server(ca.issue("localhost")) as server:
            assert "unknown issuer" in failure(server.port, ca_file=other_ca.file)

    def test_expired(self, ca: Authority) -> None:
        with tls_server(ca.issue("localhost", not_before=ago(9), not_after=ago(1))) as server:
            assert "its certificate has expired: renew it" in failure(server.port, ca_file=ca.file)

    def test_not_yet_valid(self, ca: Authority) -> None:
        with tls_server(ca.issue("localhost", not_before=ago(-1), not_after=ago(-9))) as server:
            assert "not valid yet: is this machine's clock right?" in failure(server.port, ca_file=ca.file)

    def test_wrong_name_and_address(self, ca: Authority) -> None:
        with tls_server(ca.issue("hubble.example")) as server:
            assert "its certificate is for another name" in failure(server.port, ca_file=ca.file)
            assert "its certificate is not for this address" in failure(server.port, "127.0.0.1", ca_file=ca.file)

    def test_self_signed(self, tmp_path: Path) -> None:
        cert, key = str(tmp_path / "self.pem"), str(tmp_path / "self.key")
        extension = ("-addext", "subjectAltName=DNS:localhost", "-subj", "/CN=localhost")
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, *extension)
        with tls_server(Identity(cert, key)) as server:
            assert "its certificate is self-signed: pass that certificate with -ca" in failure(server.port)
            succeeds(server.port, ca_file=cert)

    def test_the_server_name_is_sent_and_checked(self, ca: Authority) -> None:
        hellos: list[bytes] = []
        with scripted_server(lambda sock: hellos.append(sock.recv(65536))) as port:
            failure(port, "127.0.0.1", server_name="hubble.example")
        assert b"hubble.example" in hellos[0]
        with tls_server(ca.issue("hubble.example")) as server:
            succeeds(server.port, "127.0.0.1", ca_file=ca.file, server_name="hubble.example")
            assert "for another name" in failure(server.port, ca_file=ca.file, server_name="b.example")

    def test_a_server_name_that_cannot_be_one(self, ca: Authority) -> None:
        with tls_server(ca.issue("localhost")) as server:
            assert "not possible with the name '.example'" in failure(server.port, server_name=".example")


class TestPins:
    @pytest.mark.parametrize("form", ["base64", "hex"])
    def test_as_openssl_says_it(self, ca: Authority, form: str) -> None:
        identity = ca.issue("localhost")
        with tls_server(identity) as server:
            succeeds(server.port, ca_file=ca.file, pins=(pin_by_openssl(identity, form),))

    @pytest.mark.parametrize("key", ["rsa:2048", EC + "P-256", EC + "P-384", "ed25519"])
    def test_keys_of_all_kinds(self, tmp_path: Path, key: str) -> None:
        cert = str(tmp_path / "cert.pem")
        new_key = ("-newkey", *key.split(), "-nodes", "-keyout", str(tmp_path / "key.pem"))
        openssl("req", "-x509", *new_key, "-out", cert, "-subj", "/CN=x")
        pin = pin_by_openssl(Identity(cert, ""), "hex")
        assert public_key_digest(ssl.PEM_cert_to_DER_cert(Path(cert).read_text())).hex() == pin.removeprefix("sha256:")

    def test_a_certificate_of_version_1(self, tmp_path: Path) -> None:
        """Those have no version field, which moves the key."""
        cert, request = str(tmp_path / "cert.pem"), str(tmp_path / "request.pem")
        key = str(tmp_path / "key.pem")
        openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=x")
        openssl("x509", "-req", "-in", request, "-signkey", key, "-out", cert)
        pin = pin_by_openssl(Identity(cert, ""), "hex")
        assert public_key_digest(ssl.PEM_cert_to_DER_cert(Path(cert).read_text())).hex() == pin.removeprefix("sha256:")

    def test_another_key_is_refused_although_the_ca_is_trusted(self, ca: Authority) -> None:
        pinned, shown = ca.issue("localhost"), ca.issue("localhost")
        with tls_server(shown) as server:
            text = failure(server.port, ca_file=ca.file, pins=(pin_by_openssl(pinned),))
            assert f"its public key is {pin_by_openssl(shown)}, which no --pin allows" in text
            assert server.requests == []

    def test_one_of_several_is_enough(self, ca: Authority) -> None:
        identity = ca.issue("localhost")
        with tls_server(identity) as server:
            succeeds(server.port, ca_file=ca.file, pins=("sha256:" + "0" * 64, pin_by_openssl(identity)))

    def test_a_pin_does_not_replace_a_good_certificate(self, ca: Authority) -> None:
        identity = ca.issue("localhost")
        with tls_server(identity) as server:
            assert "unknown issuer" in failure(server.port, pins=(pin_by_openssl(identity),))

    def test_pins_count_where_certificates_do_not(self, ca: Authority, caplog: pytest.LogCaptureFixture) -> None:
        identity = ca.issue("anything.example")
        with tls_server(identity) as server:
            succeeds(server.port, insecure=True, pins=(pin_by_openssl(identity),))
            assert "which no --pin allows" in failure(server.port, insecure=True, pins=("sha256:" + "0" * 64,))
        assert "INSECURE" not in caplog.text

    @pytest.mark.parametrize("pin", ["", "sha256:", "sha256:AAAA", "0" * 64, "md5:" + "0" * 64, "sha256:" + "x" * 64])
    def test_what_is_no_pin(self, pin: str) -> None:
        with pytest.raises(UsageError, match="is not sha256: and"):
            TLSOptions(pins=(pin,))


class TestInsecure:
    def test_any_certificate_will_do_and_the_log_says_so_each_time(
        self, ca: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        with tls_server(ca.issue("hubble.example", not_before=ago(9), not_after=ago(1))) as server:
            for _ in range(2):
                succeeds(server.port, insecure=True)
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 2
        assert all("INSECURE" in record.message for record in warnings)


class TestClientCertificate:
    def test_it_is_shown_and_its_subject_is_seen(self, ca: Authority) -> None:
        me = ca.issue("agent@example.com", common_name="agent1", organization_name="A, B+C")
        with tls_server(ca.issue("localhost"), client_ca=ca.file, require_client=True) as server:
            succeeds(server.port, ca_file=ca.file, cert_file=me.cert, key_file=me.key)
            subject = peer_subject(server.sockets[0])
        assert subject is not None
        assert subject.split(",O=")[0].startswith("CN=agent1")
        assert r"O=A\, B\+C" in subject

    def test_certificate_and_key_in_one_file(self, ca: Authority, tmp_path: Path) -> None:
        me, both = ca.issue("agent@example.com"), tmp_path / "both.pem"
        both.write_text(Path(me.key).read_text() + Path(me.cert).read_text())
        with tls_server(ca.issue("localhost"), client_ca=ca.file, require_client=True) as server:
            succeeds(server.port, ca_file=ca.file, cert_file=str(both))

    def test_optional_means_that_none_is_fine_and_a_bad_one_is_not(self, ca: Authority, other_ca: Authority) -> None:
        stranger = other_ca.issue("agent@example.com")
        with tls_server(ca.issue("localhost"), client_ca=ca.file) as server:
            succeeds(server.port, ca_file=ca.file)
            assert peer_subject(server.sockets[0]) is None
            text = failure(server.port, ca_file=ca.file, cert_file=stranger.cert, key_file=stranger.key)
            assert "certificate" in text

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_a_demand_for_one(self, ca: Authority, version: ssl.TLSVersion) -> None:
        with picky_server(ca, version) as port:
            assert "requires a client certificate" in failure(port, ca_file=ca.file)

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_one_of_an_unknown_issuer(self, ca: Authority, other_ca: Authority, version: ssl.TLSVersion) -> None:
        me = other_ca.issue("agent@example.com")
        with picky_server(ca, version) as port:
            text = failure(port, ca_file=ca.file, cert_file=me.cert, key_file=me.key)
        assert "it does not accept our certificate: it does not know the issuer" in text

    def test_one_that_has_expired(self, ca: Authority) -> None:
        me = ca.issue("agent@example.com", not_before=ago(9), not_after=ago(1))
        with picky_server(ca, ssl.TLSVersion.TLSv1_3) as port:
            text = failure(port, ca_file=ca.file, cert_file=me.cert, key_file=me.key)
        assert "it does not accept our certificate: it has expired" in text

    def test_a_refusal_that_overtakes_our_request(self, ca: Authority) -> None:
        """A process of its own has refused and hung up before our request is out, more often than not."""
        with picky_process(ca) as port:
            for _ in range(10):
                assert "requires a client certificate" in failure(port, ca_file=ca.file)

    def test_a_plain_socket_has_no_subject(self) -> None:
        with socket.socket() as sock:
            assert peer_subject(sock) is None


@contextmanager
def picky_server(ca: Authority, version: ssl.TLSVersion) -> Iterator[int]:
    """Demands a client certificate; reads before it closes, lest a reset overtakes the alert that says why."""
    identity = ca.issue("localhost")
    context = server_context(identity.cert, identity.key, ca.file, require_client=True)
    context.maximum_version = version

    def handle(sock: Socket) -> None:
        wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        try:
            wrapped.do_handshake()
        except ssl.SSLError:
            raw = socket.socket(fileno=wrapped.detach())
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(65536):
                pass
            raw.close()

    with scripted_server(handle) as port:
        yield port


ELSEWHERE = """
import sys, gevent
from hubble.transport.serve.servertls import ServerTLS
from tests.support.wsserver import upgrading_server
cert, key, ca = sys.argv[1:]
with upgrading_server(ServerTLS(cert, key, ca, require_client=True)) as server:
    print(server.port, flush=True)
    gevent.sleep(60)
"""


@contextmanager
def picky_process(ca: Authority) -> Iterator[int]:
    """The port of a server that demands a client certificate, in a process of its own."""
    identity = ca.issue("localhost")
    command = [sys.executable, "-c", ELSEWHERE, identity.cert, identity.key, ca.file]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


class TestOtherServers:
    def test_a_server_that_answers_tls_with_http(self) -> None:
        def handle(sock: Socket) -> None:
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        with scripted_server(handle) as port:
            assert "it does not speak TLS there: are the scheme and the port of the URL right?" in failure(port)

    def test_a_server_that_hangs_up(self) -> None:
        with scripted_server(hang_up) as port:
            assert "it closed the connection: does it speak TLS there?" in failure(port)

    def test_ws_on_a_tls_port(self, ca: Authority) -> None:
        with tls_server(ca.issue("localhost")) as server, pytest.raises(DialError, match="use wss://"):
            open_websocket(parse_url(f"ws://localhost:{server.port}/"), DialOptions(proxy="none"))

    def test_old_versions_are_refused(self, ca: Authority) -> None:
        identity = ca.issue("localhost")
        context = server_context(identity.cert, identity.key)
        with pytest.warns(DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        server = StreamServer(("127.0.0.1", 0), lambda sock, _: None, ssl_context=Quiet(context))
        server.start()
        try:
            assert "TLS 1.2 or later is needed" in failure(server.server_port, ca_file=ca.file)
        finally:
            server.stop(timeout=0)


class Quiet:
    """A context whose failed handshakes print no traceback."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap_socket(self, sock: Socket, **how: Any) -> Socket:
        try:
            return self._context.wrap_socket(sock, **how)
        except OSError as error:
            raise gevent.GreenletExit from error


class TestFiles:
    def test_missing_and_malformed(self, ca: Authority, tmp_path: Path) -> None:
        me, junk = ca.issue("x"), tmp_path / "junk.pem"
        junk.write_text("junk")
        for options, said in [
            ({"ca_file": "nowhere.pem"}, "the CA file 'nowhere.pem' cannot be used: No such file or directory"),
            ({"ca_file": str(junk)}, "it is not PEM"),
            ({"cert_file": "nowhere.pem"}, "the certificate 'nowhere.pem' cannot be used: No such file"),
            ({"cert_file": str(junk)}, "it is not PEM"),
            ({"cert_file": me.cert, "key_file": ca.issue("y").key}, "the key belongs to another certificate"),
        ]:
            with pytest.raises(UsageError) as caught:
                client_context(TLSOptions(**options))  # type: ignore[arg-type]
            assert said in str(caught.value)

    def test_a_key_without_its_certificate(self) -> None:
        with pytest.raises(UsageError, match="give --cert as well"):
            TLSOptions(key_file="x")

    def test_a_passphrase_is_not_asked_for(self, ca: Authority, tmp_path: Path) -> None:
        me, locked = ca.issue("x"), tmp_path / "locked.key"
        openssl("pkey", "-in", me.key, "-aes128", "-passout", "pass:secret", "-out", str(locked))
        with pytest.raises(UsageError, match="passphrase cannot be used; remove the passphrase"):
            client_context(TLSOptions(cert_file=me.cert, key_file=str(locked)))

    def test_a_file_that_goes_missing_later_is_an_error_to_retry_after(self, ca: Authority) -> None:
        with tls_server(ca.issue("localhost")) as server:
            assert "cannot be used" in failure(server.port, ca_file="nowhere.pem")


def test_it_works_without_monkey_patching(ca: Authority) -> None:
    script = (
        "import sys\n"
        "from hubble.transport.dial.dial import DialOptions, open_websocket, parse_url\n"
        "from hubble.transport.tls import TLSOptions\n"
        "tls = TLSOptions(ca_file=sys.argv[2])\n"
        "upgraded = open_websocket(parse_url(sys.argv[1]), DialOptions(proxy='none', tls=tls))\n"
        "print(upgraded.leftover or upgraded.socket.recv(100))\n"
    )
    with tls_server(ca.issue("localhost")) as server:
        url = f"wss://localhost:{server.port}/"
        done = subprocess.run(
            [sys.executable, "-c", script, url, ca.file], cwd=ROOT, capture_output=True, text=True, timeout=30
        )
    assert (done.stdout.strip(), done.stderr) == (repr(HELLO), "")
