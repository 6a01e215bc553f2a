"""RTCP messages of the packet plane (RFC 3550 §6, RFC 4585): compiled functions over byte arrays."""
