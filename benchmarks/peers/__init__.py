"""The same load against other servers, in one run: `python -m benchmarks.peers`."""
