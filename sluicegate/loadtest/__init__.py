"""`sluicegate loadtest`: many real clients in one process, and what a server did with their media.

Joining (HTTP, ICE, DTLS) is ordinary asyncio; from then on one compiled loop without the GIL sends and receives for
all of them, so that one core can load a server that uses another one fully.
"""
