"""What a forwarded packet costs, and what it would cost at least: `python -m benchmarks.forward`."""
