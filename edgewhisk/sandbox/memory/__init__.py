"""Linear memories: made, counted against one budget, put back after a call."""
