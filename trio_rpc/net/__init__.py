"""Sockets: besides `concurrency`, the place where trio and asyncio differ.

* `byte_streams`: connected sockets as streams of bytes. `tls`: TLS over such a stream.
* `listening`: listening sockets, and a task for each connection.
* `handshakes`: a bounded number of connections that have not identified themselves.
"""
