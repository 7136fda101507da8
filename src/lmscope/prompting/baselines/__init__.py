"""What a tuned prompt is to be measured against: other ways to use the same examples and the same budget."""
