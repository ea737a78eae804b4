"""Frozen values turned into tables, sentences and pages."""
