"""Image classification, segmentation and video data sets."""
