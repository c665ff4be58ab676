"""One bounded HTTP/1.1 server: connections, admission and server-sent events."""
