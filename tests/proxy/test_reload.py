from __future__ import annotations

from pathlib import Path

import pytest

from hubble.base.errors import UsageError
from hubble.policy import GrantAll
from hubble.proxy.proxy import Proxy, ProxyOptions
from hubble.transport.serve.server import ServerOptions
from hubble.transport.serve.servertls import ServerTLS
from tests.support.certificates import Authority


class Reloaded(GrantAll):
    def __init__(self) -> None:
        self.times = 0
        self.problem = ""

    def reload(self) -> None:
        self.times += 1
        if self.problem:
            raise UsageError(self.problem)


def test_all_is_read_again_whatever_cannot_be_used(tmp_path: Path) -> None:
    identity, policy = Authority(tmp_path).issue("localhost"), Reloaded()
    options = ProxyOptions(server=ServerOptions(tls=ServerTLS(identity.cert, identity.key)))
    proxy = Proxy("127.0.0.1:0", policy, options=options)
    proxy.start()
    proxy.reload()
    Path(identity.cert).write_text("rubbish")
    policy.problem = "the script is rubbish"
    with pytest.raises(UsageError, match=r"the script is rubbish; the certificate .* cannot be used: it is not PEM"):
        proxy.reload()
    assert policy.times == 2
    proxy.stop()
