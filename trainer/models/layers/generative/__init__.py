"""Parts of generative models: GAN pairs, quantizers, time embeddings."""
