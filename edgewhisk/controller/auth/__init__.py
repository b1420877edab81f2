"""Who may do what: subjects and their keys, tokens of devices, entitlement, rate limits."""
