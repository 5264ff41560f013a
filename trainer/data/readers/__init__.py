"""Readers of files: tables, text, images, graphs, downloads."""
