"""What guests may ask of the host."""
