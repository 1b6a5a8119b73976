"""Answers from the store: statistics, leaderboards, listings, and their rendering."""
