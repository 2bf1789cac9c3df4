"""Texts to what conditions a model: prompts with weights, tokenizers, the text transformer, textual inversions."""
