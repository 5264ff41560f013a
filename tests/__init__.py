"""Tests mirror the packages of ``trainer``; ``helpers`` holds shared code."""
