"""Vocabulary (names, synonyms) -> prompts -> text features."""
