"""Actions named in words: labels, prompts, text embeddings, and the models that compare them with video."""
