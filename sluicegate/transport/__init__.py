"""One peer's connection: ICE and DTLS together, and the driver that moves their datagrams, timers and cryptography."""
