"""Sluicegate: a WebRTC media server in Python."""

__version__ = "0.1.0"
