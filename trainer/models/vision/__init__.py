"""Models of images: classification, segmentation, video."""
