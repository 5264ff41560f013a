"""Vision models: classification, segmentation, video."""
