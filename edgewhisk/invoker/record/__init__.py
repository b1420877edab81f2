"""From results to records, and until they are durable."""
