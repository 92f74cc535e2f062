"""Settings of the property tests in this folder."""

from hypothesis import settings

# A busy machine must not fail a test: examples may take as long as they like.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
