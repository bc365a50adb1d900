"""Hostile clients, full disks, broken models and bad moments: ``make chaos``."""
