from __future__ import annotations

import logging
import shutil
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from gevent import ssl as gevent_ssl

from hubble.base.errors import UsageError
from hubble.transport.addresses import connect
from hubble.transport.serve.servertls import ServerTLS
from tests.support.certificates import Authority, Identity
from tests.support.dialling import dial, failure, pin_by_openssl, succeeds, tls_server
from tests.support.wsserver import upgrading_server


def replace(old: Identity, new: Identity) -> None:
    """The files of `old` hold what those of `new` do, as after a renewal."""
    shutil.copy(new.cert, old.cert)
    shutil.copy(new.key, old.key)


class TestReloading:
    @pytest.mark.parametrize("told", [True, False])
    def test_new_connections_see_the_new_files_and_old_ones_go_on(self, ca: Authority, told: bool) -> None:
        first, second = ca.issue("localhost"), ca.issue("localhost")
        first_pin, second_pin = pin_by_openssl(first), pin_by_openssl(second)
        tls = ServerTLS(first.cert, first.key)
        with upgrading_server(tls) as server:
            before = dial(server.port, ca_file=ca.file, pins=(first_pin,))
            replace(first, second)
            if told:
                tls.reload()
            succeeds(server.port, ca_file=ca.file, pins=(second_pin,))
            before.socket.sendall(b"still here")
            received = before.leftover
            while not received.endswith(b"still here"):
                received += before.socket.recv(100)
            before.socket.close()

    def test_a_reload_that_fails_changes_nothing(self, ca: Authority) -> None:
        identity = ca.issue("localhost")
        tls = ServerTLS(identity.cert, identity.key)
        with upgrading_server(tls) as server:
            Path(identity.cert).write_text("half written")
            with pytest.raises(UsageError):
                tls.reload()
            succeeds(server.port, ca_file=ca.file)

    @pytest.mark.parametrize("spoil", [lambda file: file.write_text("half written"), Path.unlink])
    def test_a_file_that_cannot_be_used_is_said_once_and_looked_at_again(
        self, ca: Authority, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], object]
    ) -> None:
        first, second = ca.issue("localhost"), ca.issue("localhost")
        second_pin = pin_by_openssl(second)
        with tls_server(first) as server:
            spoil(Path(first.cert))
            for _ in range(3):
                succeeds(server.port, ca_file=ca.file)
            errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
            assert len(errors) == 1
            assert "kept the previous TLS certificate" in errors[0]
            replace(first, second)
            succeeds(server.port, ca_file=ca.file, pins=(second_pin,))

    def test_a_new_authority_of_clients_counts(self, ca: Authority, other_ca: Authority) -> None:
        me = other_ca.issue("agent@example.com")
        shown = {"ca_file": ca.file, "cert_file": me.cert, "key_file": me.key}
        authority = ca.issue("unused").cert  # any file
        shutil.copy(ca.file, authority)
        with tls_server(ca.issue("localhost"), client_ca=authority, require_client=True) as server:
            assert "it does not accept our certificate" in failure(server.port, **shown)
            shutil.copy(other_ca.file, authority)
            succeeds(server.port, **shown)


class TestHandshakes:
    def test_a_scanner_costs_one_line_of_log_and_no_traceback(
        self, ca: Authority, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        caplog.set_level(logging.INFO, "hubble.transport.serve.servertls")
        with tls_server(ca.issue("localhost")) as server, connect("127.0.0.1", server.port, 5) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with suppress(ConnectionResetError):
                while sock.recv(65536):
                    pass
        assert "it speaks HTTP without TLS" in caplog.text
        assert len(caplog.records) == 1
        assert "Traceback" not in capfd.readouterr().err

    def test_a_client_that_says_nothing_is_cut_off(self, ca: Authority, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "hubble.transport.serve.servertls")
        with (
            tls_server(ca.issue("localhost"), handshake_timeout=0.1) as server,
            connect("127.0.0.1", server.port, 5) as sock,
        ):
            assert sock.recv(100) == b""
        assert "no handshake in time" in caplog.text

    def test_versions_before_1_2_are_refused(self, ca: Authority) -> None:
        context = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with pytest.warns(DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.load_verify_locations(ca.file)
        with (
            tls_server(ca.issue("localhost")) as server,
            connect("127.0.0.1", server.port, 5) as sock,
            pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"),
        ):
            context.wrap_socket(sock, server_hostname="localhost")
