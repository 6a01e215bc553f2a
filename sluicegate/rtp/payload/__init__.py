"""What a packet says about its picture: one parser a codec, all of which fill the record of `descriptor.py`.

The parsers are compiled, allocate nothing and never raise; bytes that make no sense leave `valid` at 0.
"""
