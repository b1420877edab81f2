"""What waits for its turn: streams, what is parked, how much is let in."""
