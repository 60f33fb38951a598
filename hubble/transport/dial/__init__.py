"""The dialing side of a link: from a URL to an upgraded WebSocket, through HTTP and SOCKS proxies.

dial       the phases: TCP, an HTTP or SOCKS proxy, TLS, the upgrade
outproxy   the choice of an HTTP or SOCKS proxy, and CONNECT through it
proxyauth  authentication to an HTTP proxy
socks      SOCKS5
answer     reads the answer to an HTTP request
"""
