"""The two ways in which requests travel."""
