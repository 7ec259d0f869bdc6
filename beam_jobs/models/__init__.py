"""The image models: one small interface, an adapter for each of Vertex AI's two protocols."""
