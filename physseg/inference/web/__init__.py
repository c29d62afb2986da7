"""A page in the browser: drop a picture, type words, see them compete. Needs Gradio, the extra "web"."""
