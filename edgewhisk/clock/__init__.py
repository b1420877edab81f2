"""Time on a gateway whose clock may be wrong: the system's clock, its offset, what is known of each boot."""
