"""Time series forecasting data sets."""
