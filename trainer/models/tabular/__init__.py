"""Models of tables: linear models and perceptrons."""
