"""Building blocks of generative models: GAN networks, vector quantizers and time embeddings."""
