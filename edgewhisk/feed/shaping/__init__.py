"""What becomes of readings before they fire a trigger: filters, windows, batches."""
