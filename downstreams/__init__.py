"""Heads only: features in, prediction out; no data, no metrics."""
