"""Links: whole messages in and out over a WebSocket, and how one is dialled or accepted."""
