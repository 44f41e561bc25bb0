"""EasyDistill 2.x used for what it does, making data by a teacher's server, shard by shard."""
