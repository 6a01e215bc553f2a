"""Channels, sessions, tracks and subscriptions: the domain, without I/O.

`service.Service` is the one door: HTTP, the bus and the tests come in by it. Media goes out as commands to the packet
plane, news as events to the bus.
"""
