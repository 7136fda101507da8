"""From what lies on disk to what a page shows."""
