"""Losses shared by several tasks."""
