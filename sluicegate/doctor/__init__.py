"""`sluicegate doctor`: the settings in effect, and what this machine and the configured services offer."""
