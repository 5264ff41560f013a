"""Tests mirror the packages of ``trainer``; ``helpers`` holds what they share."""
