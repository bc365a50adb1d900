"""Load tests: ``make load``."""
