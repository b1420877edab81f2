"""Component guests, such as Python's: text in, text out."""
