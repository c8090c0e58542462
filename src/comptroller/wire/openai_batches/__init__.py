"""OpenAI batches over uploaded files."""
