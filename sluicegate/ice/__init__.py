"""ICE for a server with an address of its own: an ICE-lite agent (RFC 8445 §2.5), its STUN codec and its candidates."""
