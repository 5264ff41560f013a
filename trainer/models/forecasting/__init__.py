"""Time series forecasting models."""
