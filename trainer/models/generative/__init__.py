"""Generative models: GANs, autoencoders, flows, diffusion."""
