"""Models on disk and in memory: checkpoints, loading, generating, shapes."""
