"""Beam's own GeminiModelHandler, with a thread for each of 64 calls."""

from bench.contenders import beam_gemini

THREADS = 64

if __name__ == "__main__":
    beam_gemini.main(THREADS)
