"""What every room may use and that knows nothing of them: threads, pauses, small files, bounded memories."""
