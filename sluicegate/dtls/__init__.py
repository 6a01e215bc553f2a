"""DTLS-SRTP (RFC 5764) without I/O: our certificate, the handshake in both roles, and the SRTP keys that come of it."""
