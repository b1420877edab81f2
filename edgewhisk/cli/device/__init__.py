"""Commands on devices: what is plugged in, what it says, what is wrong."""
