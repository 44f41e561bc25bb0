def test_the_package_imports() -> None:
    import qdl_engine

    assert qdl_engine.__name__ == "qdl_engine"
