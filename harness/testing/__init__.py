"""What tests of plugins may use: conformance checks, golden replay, toy data."""
