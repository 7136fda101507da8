"""What lies on disk under the served folders, found, opened and kept open."""
