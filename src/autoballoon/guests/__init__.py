"""Guests as hypervisors show them: one protocol and its adapters."""
