"""Pictures and HTML of values; knows nothing of what they mean."""
