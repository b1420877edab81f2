"""The configuration: its sections as frozen values, the loader, and the rules that values must keep."""
