"""An HTTP server for ASGI apps, which knows no rooms.

* `server`: connections, with or without TLS. `connection`: one HTTP/1.1 connection.
* `websocket`: a WebSocket after its handshake. `frame_cutter`: its frames, in bounded pieces.
* `asgi`, `asgi_websocket`: a request and a WebSocket, as an ASGI app sees them.
"""
