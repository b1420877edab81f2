"""What tells one kind of target from another: one file for each."""
