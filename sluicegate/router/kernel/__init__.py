"""The compiled part of the packet plane: plain loops over the tables, without the GIL and without allocation."""
