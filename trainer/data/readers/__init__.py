"""File readers for tables, text, images and graphs, and verified downloads."""
