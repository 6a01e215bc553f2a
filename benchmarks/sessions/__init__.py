"""What sessions cost when nothing is forwarded: memory, joining, idling, and coming and going."""
