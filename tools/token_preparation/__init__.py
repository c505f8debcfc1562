"""The parts of tools/prepare_tokens, each with one concept."""
