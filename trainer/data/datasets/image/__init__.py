"""Images, masks and video."""
