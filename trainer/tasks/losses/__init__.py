"""Losses, penalties and likelihoods."""
