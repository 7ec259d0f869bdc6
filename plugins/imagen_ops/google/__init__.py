"""Hooks for Google's APIs. They are slow to import, so import them only inside a task."""
