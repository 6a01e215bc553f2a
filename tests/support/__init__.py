"""What the suites share: a real server process, a bad network, real and scripted clients, real browsers."""
