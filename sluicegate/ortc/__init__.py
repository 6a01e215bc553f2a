"""ORTC dictionaries and what two ends make of them: capabilities in, parameters out; no state, no I/O."""
