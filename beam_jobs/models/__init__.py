"""The image models: one interface, with an adapter for each of Vertex AI's two protocols."""
