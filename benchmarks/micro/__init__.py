"""Each step of the packet plane alone, by compiled entries on crafted tables, so that a regression has an address.

`make bench-micro`, or `pytest benchmarks/micro -o python_files='bench_*.py' --benchmark-only`. A round is a batch;
`extra_info` says how many packets that is, and `ns_per_packet` what one took in the median round.
"""
