"""The dialling side of a link: from a URL to an upgraded WebSocket, through HTTP and SOCKS proxies.

dial       the phases: TCP, a proxy on the way, TLS, the upgrade
outproxy   which proxy, if any, and CONNECT through it
proxyauth  authentication to an HTTP proxy
socks      SOCKS 4 and 5
answer     reads the answer to an HTTP request
"""
