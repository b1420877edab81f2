"""What travels on the data path: messages, arguments, calls, outcomes."""
