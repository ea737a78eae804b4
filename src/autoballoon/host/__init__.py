"""Readers of what the host's kernel says; the root of /proc and /sys is a parameter."""
