"""Connects stages that do not know each other."""
