"""`make bench`: what a forwarded packet costs."""

from benchmarks.forward.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main())
