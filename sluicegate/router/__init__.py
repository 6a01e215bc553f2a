"""The packet plane: what its tables say is forwarded, whatever is rare is handed up.

Commands go down, events and punted datagrams come up; nothing else crosses.
"""
