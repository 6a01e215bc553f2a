"""Benchmarks: what a forwarded packet costs (`forward`), beside other servers (`peers`), and step by step (`micro`)."""
