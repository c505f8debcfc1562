"""The parts of tools/case_studies."""
