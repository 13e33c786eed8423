"""Who calls, and what he may do. No web framework in it."""
