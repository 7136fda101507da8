"""Long work: jobs as runs in processes of their own."""
