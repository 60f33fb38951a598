"""The dialling side of a link: from a URL to an upgraded WebSocket, through HTTP and SOCKS proxies."""
