"""What the API does for each route."""
